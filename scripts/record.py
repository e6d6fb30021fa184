"""Keep the light record of finished runs in docs/results, and write the index of all of them.

    python scripts/record.py DIR [DIR ...] [--name NAME]     the experiment whose run, or grid, is in DIR
    python scripts/record.py                                 only write the index again

The parts of README.md and docs/theory.md that tell of verdicts are written with the index, so that they tell the same,
and docs/results/MANIFEST.json names the records whose runs are not in the archive.

What a record holds: ncbench/report/pages/record.py. A run that is not done is refused.
"""

import argparse
import json
import sys
from pathlib import Path

from archive import records_without_runs, write_manifest

from ncbench.records.runs import find_runs
from ncbench.report.pages.index import read_tables, rewrite_block, write_index
from ncbench.report.pages.record import write_record
from ncbench.run.compose import experiments

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
# The pages with a part that is made of the index, and the template of that part.
PAGES = {ROOT / "README.md": "coverage.md.jinja", ROOT / "docs" / "theory.md": "verdicts.md.jinja"}


def main() -> int:
    """Write the records of experiments and the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", type=Path, metavar="DIR", nargs="*")
    parser.add_argument("--name", help="default: the experiment that the runs name; only with one DIR")
    arguments = parser.parse_args()
    if arguments.name and len(arguments.directories) != 1:
        parser.error("--name: needs exactly one DIR")
    try:
        for directory in arguments.directories:
            infos = [json.loads((run / "run.json").read_text()) for run in find_runs(directory)]
            target = write_record(directory, RESULTS / (arguments.name or experiment_path(infos[0]["name"])))
            hashes = ", ".join(info["config_hash"][:10] for info in infos)
            wall = sum(info["wall_seconds"] for info in infos)
            print(f"{target.relative_to(ROOT)}: {hashes}, {wall:.0f} s")
        print(write_index(RESULTS, RESULTS))
        tables, _ = read_tables(RESULTS, RESULTS)
        for page, template in PAGES.items():
            rewrite_block(page, template, tables)
        manifest = json.loads((RESULTS / "MANIFEST.json").read_text())
        write_manifest(manifest | {"records_without_runs": records_without_runs(manifest, RESULTS)})
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def experiment_path(name: str) -> str:
    """The path of the experiment file that gives runs this name."""
    return next((path for path in experiments() if path.rsplit("/", 1)[-1] == name), name)


if __name__ == "__main__":
    sys.exit(main())
