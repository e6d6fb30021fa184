"""What a job will need, from its configuration alone: replicas, work, cores; and its cost, from earlier runs."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.config.cores import cores_of_network, replicas_of
from ncbench.config.root import Config
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import CONFIG, RUN_INFO
from ncbench.records.small_files import read_yaml

__all__ = ["cores_of_job", "recorded_rate", "work_of"]


def work_of(config: Config) -> float:
    """Replicas times gradient steps of a full-batch problem, else times epochs."""
    return _work(config.plain(), replicas_of(config))


def _work(values: dict[str, Any], replicas: int) -> float:
    steps = (values.get("schedule") or {}).get("steps")
    epochs = (values.get("trainer") or {}).get("max_epochs")
    return float(replicas * (steps or epochs or 1))


def cores_of_job(config: Config) -> tuple[int, int]:
    """The cores that one process of the job can use for one network, and those that it can for all its replicas.

    The replicas of an ensemble are small networks: side by side, jobs of one core each do more than one job on all.
    """
    every = max(1, cores_of_network(config) // config.trainer.devices)
    alone = config.model.full_batch and config.trainer.threads is None
    return (1 if alone else every), every


def recorded_rate(experiment: str) -> float | None:
    """Seconds per unit of work of this experiment: the median over the committed records of its name, or None.

    They were made on another machine: an order of magnitude, not a promise.
    """
    rates = [rate for name, rate in _recorded() if name == experiment]
    return median(rates) if rates else None


def _recorded() -> Iterator[tuple[str, float]]:
    for path in sorted((CONF_DIR.parent / "docs" / "results").rglob(RUN_INFO)):
        info = read_run_info(path.parent)
        wall, name = info.get("wall_seconds"), info.get("name")
        config = next((folder / CONFIG for folder in list(path.parents)[:3] if (folder / CONFIG).is_file()), None)
        if wall and name and config is not None:
            yield name, wall / _work(read_yaml(config), info.get("replicas") or 1)
