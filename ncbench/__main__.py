"""`ncbench train`, `ncbench sweep`, `ncbench report`, `ncbench measure`: the modules' command lines under one name."""

import sys

if __name__ == "__main__" and sys.argv[1:2] != ["train"]:
    from ncbench._safe_path import leave_current_folder

    leave_current_folder()  # first: what is imported after it is not the folder's

from collections.abc import Sequence

from ncbench._cli import printing

__all__ = ["main"]

USAGE = """usage: ncbench train  [+experiment=NAME] [key=value ...]
       ncbench sweep  plan OVERRIDES | status DIR | resume DIR | rerun RUN | verify RECORD
       ncbench report DIR [DIR ...]
       ncbench measure RUN_OR_CHECKPOINT [--split test]
Each has its own --help.
"""


@printing
def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a command; exit status 2 for an unknown one."""
    command, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if command == "train":
        from ncbench.train import main as run

        return run(rest)
    if command == "sweep":
        from ncbench.sweep.__main__ import main as run_sweep

        return run_sweep(rest)
    if command == "report":
        from ncbench.report.__main__ import main as run_report

        return run_report(rest)
    if command == "measure":
        from ncbench.measure.__main__ import main as run_measure

        return run_measure(rest)
    if command in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    given = f"{command}: unknown command; " if command else ""
    print(f"ncbench: {given}one of train, sweep, report, measure is needed (see --help)", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
