"""Command `python -m ncbench.report DIR [DIR ...]`: report.html, figures and table.csv of recorded runs."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn


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
    return parser


def main(argv: list[str] | None = None) -> int:
    """Writes the report and prints where it is; returns the exit status, 2 for wrong input."""
    try:
        arguments = _parser().parse_args(argv)
    except _UsageError as error:
        print(f"ncbench report: {error}", file=sys.stderr)
        return 2
    # Imported after parsing: --help and a wrong option answer at once.
    from ncbench.report.page import write_report
    from ncbench.report.runs import BadRecordsError, as_paths, common_root

    try:
        directories = as_paths(arguments.directories)
        single = directories[0] if len(directories) == 1 else None
        out = arguments.out or single or common_root(directories)
        print(f"report: {write_report(single or directories, out)}")
    except (BadRecordsError, OSError) as error:
        print(f"ncbench report: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
