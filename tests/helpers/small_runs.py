"""Small trainings, of ensembles and in mini-batches, to be disturbed and compared with undisturbed ones."""

from functools import cache
from pathlib import Path
from typing import Any

from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs

QUIET = ("trainer.progress=false", "trainer.checkpoint_seconds=0")
KINDS = {
    # In float64 it is measured in between, so that what is done at a record is done by the thread that trains.
    "ensemble": (
        *("+experiment=dufm_k10", "replicate.seed=2", "trainer.precision=64"),
        *("schedule.steps=60", "measure.points=14", "trainer.threads=1"),
    ),
    # Measured beside the training, in lanes. In a process of its own: a fork has none of the threads of this one.
    "threads": (
        "+experiment=dufm_k10",
        "replicate.seed=4",
        "schedule.steps=60",
        "measure.points=14",
        "trainer.threads=2",
    ),
    "batches": (
        *("+experiment=digits_mlp", "dataset.per_class=12", "dataset.batch_size=40", "dataset.augment=true"),
        *("trainer.max_epochs=5", "measure.points=5", "trainer.keep_checkpoints=[0,2]"),
        "trainer.threads=1",
    ),
}


def overrides_of(kind: str) -> list[str]:
    """The command line of a kind, without a folder."""
    return [*KINDS[kind], *QUIET]


@cache
def _composed(kind: str) -> Any:
    (job,) = compose_jobs(overrides_of(kind), multirun=False)
    return job


def execute(kind: str, folder: Path) -> int:
    """The exit status of a run of this kind, in this process."""
    return run_execute.execute(_composed(kind).config, folder, command="test", overrides=overrides_of(kind))
