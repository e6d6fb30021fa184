"""Command `python -m ncbench.report DIR [DIR ...]`: report.html, figures, table.csv and claims.json of runs."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ncbench.report.claims import Judgement


class _UsageError(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m ncbench.report", description=__doc__)
    parser.add_argument(
        "directories", metavar="DIR", nargs="+", help="a run folder, or a directory with runs at any depth"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write; default: into DIR, with several into their common parent",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="print the verdict on every claim; exit status 1 if one is not what the experiment expects",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Writes the report and prints where it is; exit status 2 for wrong input, 1 for a verdict not expected."""
    try:
        arguments = _parser().parse_args(argv)
    except _UsageError as error:
        print(f"ncbench report: {error}", file=sys.stderr)
        return 2
    # Imported after parsing: --help and a wrong option answer at once.
    from ncbench.report.claims import judge
    from ncbench.report.page import write_report
    from ncbench.report.runs import BadRecordsError, as_paths, common_root

    try:
        directories = as_paths(arguments.directories)
        single = directories[0] if len(directories) == 1 else None
        out = arguments.out or single or common_root(directories)
        judgements = judge(single or directories)
        print(f"report: {write_report(single or directories, out, judgements)}")
    except (BadRecordsError, OSError) as error:
        print(f"ncbench report: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return _check(judgements) if arguments.check else 0


def _check(judgements: "list[Judgement]") -> int:
    """Prints one line per claim; 1 where a verdict is not the expected one."""
    found = [(judgement.experiment, verdict) for judgement in judgements for verdict in judgement.verdicts]
    for experiment, verdict in found:
        claim = verdict.claim
        says = " ".join(claim.says.split())
        print(f"{experiment}: {verdict.verdict} (expected {claim.expect}): {says} -- {verdict.measured}")
    if not found:
        print("no claims")
    return 0 if all(verdict.agrees for _, verdict in found) else 1


if __name__ == "__main__":
    sys.exit(main())
