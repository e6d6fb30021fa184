"""Small real sweeps for the engines, and what came out of them as a table."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ncbench import train
from ncbench.report import load_measures
from ncbench.run.compose import compose_command
from ncbench.sweep.options import SweepOptions
from ncbench.sweep.plan import Plan
from ncbench.sweep.planning import make_plan
from ncbench.sweep.states import ATTEMPTS

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "measure.points=4", "trainer.progress=false"]
# Of some seconds, with a state that is saved often: to be disturbed in the middle.
LONG = ["schedule.steps=100000", "measure.points=40", "trainer.checkpoint_seconds=0.2"]


def plan_of(folder: Path, grid: list[str], **options: Any) -> Plan:
    """The plan of a sweep of tiny runs, of 20 steps unless the grid says otherwise."""
    command = compose_command([*TINY, "schedule.steps=20", *grid, f"hydra.sweep.dir={folder}"], multirun=True)
    return make_plan(command, "python -m ncbench.train -m", [], SweepOptions.of(options))


def undisturbed_table(folder: Path, grid: list[str]) -> pd.DataFrame:
    """What the same runs record when Hydra's basic launcher carries them out one after the other."""
    where = folder / "basic"
    arguments = ["-m", *TINY, "schedule.steps=20", *grid, "hydra/launcher=basic", f"hydra.sweep.dir={where}"]
    assert train.main(arguments) == 0
    return _table(where)


def table_of(plan: Plan) -> pd.DataFrame:
    """Every recorded value of a sweep, run by run."""
    return _table(plan.folder)


def _table(folder: Path) -> pd.DataFrame:
    frame = load_measures(folder)
    return frame.astype({name: str for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)})


def attempts_of(plan: Plan) -> list[dict[str, Any]]:
    """What the sweep noted of every attempt at a job."""
    return [json.loads(line) for line in (plan.folder / ATTEMPTS).read_text().splitlines()]
