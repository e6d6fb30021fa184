"""Keep the record of finished runs: what docs/results/ holds of an experiment, and the index of all of them.

    python scripts/record.py DIR [DIR ...] [--name NAME]     the experiment whose run, or grid, is in DIR
    python scripts/record.py                                 only write the index again

Draws the report of each DIR and copies configuration, run.json and theory lines of its runs, the table of final values,
the verdicts (claims.json) and the PNG figures to docs/results/NAME, with a page of them (README.md). A run that is not
done is refused.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from PIL import Image

from ncbench.records.runs import find_runs
from ncbench.report.pages.index import write_index, write_record_page
from ncbench.report.pages.report import write_report
from ncbench.run.compose import experiments

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
OF_RUN = ("run.json", "config.yaml", "references.json")
OF_REPORT = ("table.csv", "claims.json")


def main() -> int:
    """Copy the records of experiments and write the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", type=Path, metavar="DIR", nargs="*")
    parser.add_argument("--name", help="default: the experiment that the runs name; only with one DIR")
    arguments = parser.parse_args()
    if arguments.name and len(arguments.directories) != 1:
        parser.error("--name: needs exactly one DIR")
    try:
        for directory in arguments.directories:
            print(record(directory, arguments.name))
        print(write_index(RESULTS, RESULTS))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def record(directory: Path, name: str | None) -> str:
    """Copies one experiment's record; returns a line about it, or raises ValueError where a run is not done."""
    runs = find_runs(directory)
    infos = [json.loads((run / "run.json").read_text()) for run in runs]
    for run, info in zip(runs, infos):
        if info["status"] != "done":
            raise ValueError(f"run={run}: its status is {info['status']}; only finished runs are recorded")
    write_report(directory, directory)
    target = RESULTS / (name or _experiment({info["name"] for info in infos}))
    shutil.rmtree(target, ignore_errors=True)
    (target / "figures").mkdir(parents=True)
    for run in runs:
        inside = target if run == directory else target / "runs" / run.relative_to(directory)
        inside.mkdir(parents=True, exist_ok=True)
        for file in OF_RUN:
            _copy(run / file, inside / file)
    for file in OF_REPORT:
        _copy(directory / file, target / file)
    for figure in sorted((directory / "figures").glob("*.png")):
        _picture(figure, target / "figures" / figure.name)
    write_record_page(target)
    hashes = ", ".join(info["config_hash"][:10] for info in infos)
    return f"{target.relative_to(RESULTS.parent.parent)}: {hashes}, {sum(info['wall_seconds'] for info in infos):.0f} s"


def _copy(source: Path, target: Path) -> None:
    """Copies a text without the folders of this machine in which data and runs lay."""
    target.write_text(re.sub(r"(root|dir)(=|: )/[^\s\"',]+", r"\1\2DIR", source.read_text()))


def _picture(source: Path, target: Path) -> None:
    """Copies a drawing in at most 256 colours, which is a third of its size."""
    with Image.open(source) as image:
        image.convert("RGB").quantize(256).save(target, optimize=True)


def _experiment(names: set[str]) -> str:
    """The path of the experiment file that gives runs this name."""
    if len(names) != 1:
        raise ValueError(f"runs of several experiments ({', '.join(sorted(names))}): record them one by one")
    (name,) = names
    return next((path for path in experiments() if path.rsplit("/", 1)[-1] == name), name)


if __name__ == "__main__":
    sys.exit(main())
