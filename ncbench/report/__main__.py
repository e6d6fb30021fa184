"""Command `python -m ncbench.report DIR [DIR ...]`: report.html, figures, table.csv and claims.json of runs."""

if __name__ == "__main__":
    from ncbench._safe_path import leave_current_folder

    leave_current_folder()  # first: what is imported after it is not the folder's

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ncbench._cli import DISK_FULL, Parser, UsageError, check_folder, of_file_system, one_line, printing

if TYPE_CHECKING:
    from ncbench.records.runs import Dir
    from ncbench.records.small_files import BadRecordsError
    from ncbench.report.verdicts.judge import Judgement


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m ncbench.report", description=__doc__)
    parser.add_argument(
        "directories", metavar="DIR", nargs="+", help="a run folder, or a directory with runs at any depth"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write; default: into DIR, with several into their common parent",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check",
        action="store_true",
        help="judge only: print the outcome of every claim and write claims.json, draw nothing (--draw draws too); "
        "exit status 1 if an outcome is not what the experiment expects",
    )
    what.add_argument(
        "--index",
        action="store_true",
        help="instead of a report: index.html and README.md of the verdicts of all reports in DIR, by paper and figure",
    )
    what.add_argument(
        "--compare",
        action="store_true",
        help="instead of a report: what differs between two runs, here and in comparison.html with the curves of both",
    )
    parser.add_argument("--draw", action="store_true", help="with --check: write the page and its figures too")
    return parser


@printing
def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report, prints where it is; exit status 2 for wrong input, 1 for a full disk or a failed claim."""
    try:
        arguments = _parser().parse_args(argv)
        if arguments.draw and not arguments.check:
            raise UsageError("argument --draw: is for --check; the plain command draws (see --help)")
        if arguments.out is not None:
            check_folder("--out", arguments.out)
    except UsageError as error:
        print(f"ncbench report: {error}", file=sys.stderr)
        return 2
    # Imported after parsing: --help and a wrong option answer at once.
    from ncbench.records.runs import as_paths, common_root
    from ncbench.records.small_files import BadRecordsError
    from ncbench.report.pages.index import write_index

    try:
        directories = as_paths(arguments.directories)
        single = directories[0] if len(directories) == 1 else None
        out = arguments.out or single or common_root(directories)
        if arguments.index:
            print(f"index: {write_index(directories, out)}")
            return 0
        if arguments.compare:
            return _compare(directories, arguments.out)
        if arguments.check and not arguments.draw:
            return _check(judged_alone(single or directories, out))
        page, judgements, refused = make_report(single or directories, out)
        print(f"report: {page}")
        if refused is not None:
            raise refused
    except BadRecordsError as error:
        print(f"ncbench report: {one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ncbench report: {of_file_system(error)}", file=sys.stderr)
        return 1 if error.errno in DISK_FULL else 2
    return _check(judgements) if arguments.check else 0


def make_report(dir: "Dir", out: Path) -> "tuple[Path, list[Judgement], BadRecordsError | None]":
    """Judges the claims of the runs in `dir` and writes page, table, figures and claims.json into `out`.

    Returns the path of the page, the judgements, and why the claims cannot be judged, where they cannot: then the page
    says so and there is no claims.json. Raises BadRecordsError for other records that cannot be used.
    """
    from ncbench.records.cache import one_report

    return one_report(_judged_and_written)(dir, out)


def judged_alone(dir: "Dir", out: Path) -> "list[Judgement]":
    """Judges the claims of the runs in `dir` and writes claims.json into `out`; draws nothing.

    Raises BadRecordsError for records that cannot be used and for claims that cannot be judged.
    """
    from ncbench.records.cache import one_report
    from ncbench.records.runs import load_run_info, named_runs
    from ncbench.records.schema import CLAIMS, CONFIG
    from ncbench.records.small_files import BadRecordsError
    from ncbench.report.verdicts.judge import judge, write_claims

    _check_records(dir)
    for name, info in load_run_info(dir).items():
        config = named_runs(dir)[name] / CONFIG
        if info.get("status") == "done" and not config.is_file():
            raise BadRecordsError(f"{config}: is missing, and with it what the run claims; put a copy of it back")
    try:
        judgements = one_report(judge)(dir)
    except BadRecordsError:
        (out / CLAIMS).unlink(missing_ok=True)  # what an older command judged is not what is claimed now
        raise
    out.mkdir(parents=True, exist_ok=True)
    write_claims(judgements, out / CLAIMS)
    return judgements


def _judged_and_written(dir: "Dir", out: Path) -> "tuple[Path, list[Judgement], BadRecordsError | None]":
    from ncbench.records.schema import CLAIMS
    from ncbench.records.small_files import BadRecordsError
    from ncbench.report.pages.report import write_report
    from ncbench.report.verdicts.judge import judge, write_claims

    _check_records(dir)  # of damaged records, and without any, there is nothing to write a page about
    judgements, refused = [], None
    try:
        judgements = judge(dir)
    except BadRecordsError as error:
        refused = error
    page = write_report(dir, out, judgements, refused="" if refused is None else str(refused))
    if refused is None:
        write_claims(judgements, out / CLAIMS)
    else:
        (out / CLAIMS).unlink(missing_ok=True)  # verdicts of an older report must not stand beside the new page
    return page, judgements, refused


def _check_records(dir: "Dir") -> None:
    """BadRecordsError where `dir` has no run, or a run of which a file is not as it was written."""
    from ncbench.records.parts import proven_parts
    from ncbench.records.proven_files import check_small_files
    from ncbench.records.runs import find_runs
    from ncbench.records.schema import TABLES

    for run in find_runs(dir):
        check_small_files(run)
        for table in TABLES:
            proven_parts(run, table)


def _compare(dirs: list[Path], out: Path | None) -> int:
    """Writes the page of two runs and prints what it says; status 0, whatever differs."""
    from ncbench.report.pages.comparison import write_comparison

    _check_records(dirs)
    page, found = write_comparison(dirs, out)
    print(found.text())
    print(f"comparison: {page}")
    return 0


def _check(judgements: "list[Judgement]") -> int:
    """Prints one line per claim; returns 1 where an outcome is not the expected one, else 0."""
    for judgement in judgements:
        if judgement.overrides:
            print(f"{judgement.experiment}: run with {' '.join(judgement.overrides)}, expected without these changes")
    judged = [(judgement.experiment, verdict) for judgement in judgements for verdict in judgement.verdicts]
    for experiment, verdict in judged:
        claim = verdict.claim
        expected = f" (expected {claim.expect})" if claim.expect else ""
        statement = " ".join(claim.statement.split())
        why = verdict.why.replace(f": {verdict.evidence.get('reason')}", "")  # said by what was measured
        said = f" [{verdict.verdict}: {why}]" if why else ""
        print(f"{experiment}: {verdict.name}: {verdict.outcome}{expected}: {statement} -- {verdict.measured}{said}")
    if not judged:
        print("no claims")
    return 0 if all(verdict.agrees for _, verdict in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
