"""Keep the record of a finished run: what docs/results/ holds of it and the README's table points to.

    python scripts/record.py RUN [--name NAME]

Draws the run's report and copies configuration, run.json, theory lines, table of final values and PNG figures to
docs/results/NAME. A run that is not done is refused.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from ncbench.report.page import write_report

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
KEPT = ("run.json", "config.yaml", "references.json", "table.csv")


def main() -> int:
    """Copy one run's record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", help="default: the name of the experiment")
    arguments = parser.parse_args()
    info = json.loads((arguments.run / "run.json").read_text())
    if info["status"] != "done":
        print(f"run={arguments.run}: its status is {info['status']}; only finished runs are recorded", file=sys.stderr)
        return 2
    write_report([arguments.run], arguments.run)
    target = RESULTS / (arguments.name or info["name"])
    shutil.rmtree(target, ignore_errors=True)
    (target / "figures").mkdir(parents=True)
    for name in KEPT:
        text = (arguments.run / name).read_text()
        (target / name).write_text(re.sub(r"(root|dir)(=|: )/[^\s\"']+", r"\1\2DIR", text))  # where data and run lay
    for figure in sorted((arguments.run / "figures").glob("*.png")):
        shutil.copy(figure, target / "figures" / figure.name)
    print(f"{target.relative_to(RESULTS.parent.parent)}: {info['config_hash'][:10]}, {info['wall_seconds']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
