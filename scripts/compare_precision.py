"""Two trainings of a few seeds each, with mixed precision and without: do they collapse alike?

    python scripts/compare_precision.py EXPERIMENT --out DIR [--seeds 3] [KEY=VALUE ...]

Trains EXPERIMENT with trainer.precision=32 and bf16-mixed for the seeds 0, 1, ..., one run after another, in folders
below DIR; started again it continues. Prints what both ended at, medians over the seeds: loss and accuracy, and of
every stage of the head DNC1 and the rank on the training images. Exit status 0 where every median of DNC1 is within a
factor of two of the other precision's and all median ranks are equal, 1 where not or where a training failed, 2 for
wrong input.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from ncbench.report import load_measures
from ncbench.run.compose import compose_command
from ncbench.train import main as train

PRECISIONS = ("32", "bf16-mixed")
FACTOR = 2.0


def main() -> int:
    """Train what is not done, print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: 3")
    arguments = parser.parse_intermixed_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}: must be >= 1")
    try:
        composed = compose_command([f"+experiment={arguments.experiment}", *arguments.overrides], multirun=False)
    except ValueError as error:
        parser.error(str(error))
    if len(composed.jobs) > 1:
        parser.error(
            f"EXPERIMENT {arguments.experiment}: has a grid of {len(composed.jobs)} runs; choose one, as with grid={{}}"
        )
    finals = []
    for seed in range(arguments.seeds):
        for precision in PRECISIONS:
            folder = arguments.out / f"{precision}_seed{seed}"
            own = [
                f"trainer.precision={precision}",
                f"seed={seed}",
                "trainer.progress=false",
                f"hydra.run.dir={folder}",
            ]
            status = train([f"+experiment={arguments.experiment}", *arguments.overrides, *own])
            if status:
                return status
            finals.append(final(folder).assign(precision=precision, seed=seed))
    table = compared(pd.concat(finals))
    print(table.to_string(float_format=lambda value: f"{value:.4g}"))
    ratios = table.xs("dnc1", level="measure")["ratio"]
    ranks = table.xs("rank", level="measure")
    alike, equal = within(ratios), bool((ranks[PRECISIONS[0]] == ranks[PRECISIONS[1]]).all())
    print(f"median DNC1: ratios from {ratios.min():.3f} to {ratios.max():.3f}, within {FACTOR:g}x: {alike}")
    print(f"median ranks equal: {equal}")
    return 0 if alike and equal else 1


def final(folder: Path) -> pd.DataFrame:
    """Loss, accuracy, DNC1 and ranks of the training images at the end of a run."""
    rows = load_measures(folder, measures=["loss", "accuracy", "dnc1", "rank"])
    rows = rows[(rows["step"] == rows["step"].max()) & (rows["split"] == "train")]
    texts = {"layer": str, "stage": str, "measure": str}
    found: pd.DataFrame = rows[["layer", "stage", "measure", "value"]].astype(texts)
    return found


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per layer, stage and measure: the median over the seeds of each precision, and mixed over float32."""
    keys = ["layer", "stage", "measure"]
    medians = rows.groupby([*keys, "precision"])["value"].median().unstack("precision")[list(PRECISIONS)]
    return medians.assign(ratio=medians[PRECISIONS[1]] / medians[PRECISIONS[0]])


def within(ratios: "pd.Series[float]") -> bool:
    """Whether every ratio is in [1/2, 2]; what is undefined is not."""
    return bool(ratios.between(1 / FACTOR, FACTOR).all())


if __name__ == "__main__":
    sys.exit(main())
