"""What a run is called where it is logged: its name, the group of its sweep, and tags of the sweep's axes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncbench.config.root import Config
from ncbench.records.naming import describe
from ncbench.records.schema import SWEEP
from ncbench.records.small_files import BadRecordsError, read_json
from ncbench.run.swept import swept_values

__all__ = ["LoggedAs", "logged_as"]

_log = logging.getLogger(__name__)

LONGEST_TAG = 64  # characters that W&B takes
_PARENTS = 3  # above a run folder that may be its sweep's: `hydra.sweep.subdir` may have parts
_UNTOLD = ("logger", "trainer", "hydra", "dataset.root", "dataset.download", "dataset.num_workers")


@dataclass(frozen=True)
class LoggedAs:
    """A run's name, group and tags."""

    name: str
    group: str
    tags: list[str]


def logged_as(folder: Path, config: Config, overrides: Sequence[str]) -> LoggedAs:
    """How the run in this folder is called.

    A job of a sweep has the sweep's folder for a group, `dufm_k10/sweep`, its place on the axes behind the experiment's
    name, `dufm_k10 weight_decay=0.002 depth=4`, and a tag for each of them, `model.depth=4`. Any other run has the
    experiment for a group, and in the place of the axes what its command line sets. `logger.tags` are added.
    """
    job = _job_of_sweep(folder)
    if job is None:
        told = [override for override in overrides if not override.lstrip("+~").startswith(_UNTOLD)]
        label, group = describe(swept_values(told)), config.name
        tags = [text.lstrip("+") for text in told if not text.startswith(("~", "+experiment="))]
    else:
        label, group, tags = job
        label, group = ("" if label == config.name else label), f"{config.name}/{group}"
    kept = [tag for tag in dict.fromkeys([*tags, *config.logger.tags]) if 0 < len(tag) <= LONGEST_TAG]
    return LoggedAs(f"{config.name} {label}".strip(), group, kept)


def _job_of_sweep(folder: Path) -> tuple[str, str, list[str]] | None:
    """The label, the sweep's folder and the tags of the job whose run folder this is; None where there is no sweep.

    A file that is no plan of a sweep hides none further up; the log names it.
    """
    folder = folder.absolute()
    for parent in list(folder.parents)[:_PARENTS]:
        if not (parent / SWEEP).is_file():
            continue
        try:
            job = _planned(read_json(parent / SWEEP), folder, parent)
        except (OSError, BadRecordsError, KeyError, TypeError, AttributeError) as error:
            why = str(error) if isinstance(error, BadRecordsError) else f"{parent / SWEEP} is no plan of a sweep"
            _log.warning("%s; the run is logged without it", why)
            continue
        if job is not None:
            return job
    return None


def _planned(plan: Any, folder: Path, parent: Path) -> tuple[str, str, list[str]] | None:
    inside, moved = str(folder.relative_to(parent)), Path(plan["folder"])
    for job in plan["jobs"]:
        if job["folder"] in (str(folder), str(moved / inside)):
            given = (override.lstrip("+") for override in job["overrides"])
            tags = [text for text in given if text.partition("=")[0] in plan["axes"]]
            return str(job["label"]), parent.name, tags
    return None
