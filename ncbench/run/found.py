"""Finished runs of the same configuration that another command has made: found by their hash, and not trained again.

By default a single run stands at outputs/NAME/HASH and the job of a sweep at outputs/NAME/sweep-AXES/HASH. One axis
more, one value alone, or a run by itself is another folder, but the same hash. What is found is copied to where this
command keeps its runs, tables and checkpoints as hard links; the folder it was found in stays as it is.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ncbench.config.identity import differences
from ncbench.records.finished import check_finished
from ncbench.records.lock import SOFT_LOCK
from ncbench.records.run_hash import config_hash
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import HOLDER, LOCK, SCHEMA_VERSION, TENSORBOARD, WANDB
from ncbench.run.compose import Job

__all__ = ["brought_here", "finished_elsewhere", "where_found"]

_SWEEP_FOLDER = re.compile(r"sweep-[0-9a-f]{10}")  # as `compose_command` names it where nobody else does
_LINKED = (".parquet", ".ckpt")  # never changed once they are there: written beside, and renamed into place
_LEFT_OUT = (LOCK, SOFT_LOCK, HOLDER, WANDB, TENSORBOARD)  # who had the folder, and what was sent from there


def finished_elsewhere(jobs: Sequence[Job]) -> dict[Path, Path]:
    """By the folders of those jobs that have none yet: where a finished run of the same configuration stands.

    Folders that a command line has chosen are not looked for: that is how a run is trained again.
    """
    found: dict[Path, Path] = {}
    sweeps: dict[Path, list[Path]] = {}
    for job in jobs:
        hashed = config_hash(differences(job.config))
        if job.folder.name != hashed[:10] or job.folder.exists():
            continue
        for home in _homes(job):
            if home not in sweeps:
                sweeps[home] = [home, *sorted(path for path in home.glob("sweep-*") if path.is_dir())]
            runs = (folder / job.folder.name for folder in sweeps[home])
            if done := next((run for run in runs if _is_done(run, hashed)), None):
                found[job.folder] = done
                break
    return found


def _homes(job: Job) -> Iterator[Path]:
    """The folders that hold the runs of an experiment: the job's own, and that of its name where names are swept."""
    if job.composed is not None:
        if not any(override.startswith("hydra.run.dir=") for override in job.overrides):
            yield job.folder.parent
    elif _SWEEP_FOLDER.fullmatch(job.folder.parent.name):
        home = job.folder.parent.parent
        yield home
        if home.name != job.config.name:
            yield home.parent / job.config.name


def _is_done(run: Path, hashed: str) -> bool:
    try:
        info = read_run_info(run)
    except (OSError, ValueError):
        return False
    said = (info.get("status"), info.get("config_hash"), info.get("schema_version"))
    if said != ("done", hashed, SCHEMA_VERSION) or any(path.is_symlink() for path in (run, *run.rglob("*"))):
        return False
    try:
        check_finished(run)
    except (OSError, ValueError):  # what is damaged is trained again here, and stays as it is there
        return False
    return True


@contextmanager
def brought_here(jobs: Sequence[Job]) -> Iterator[None]:
    """Inside, these jobs have the finished runs that others have made of them: copied, each at once or not at all.

    A run that cannot be copied, or that another command has copied meanwhile, is left to be trained, or found done. A
    command that is refused with a ValueError leaves no copy behind.
    """
    brought = {folder: run for folder, run in finished_elsewhere(jobs).items() if _copied(run, folder)}
    if brought:
        print(f"{where_found(brought)}, and copied")
    try:
        yield
    except ValueError:
        for folder in brought:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError, StopIteration):  # the folder of the sweep, where it held nothing else
            next(iter(brought)).parent.rmdir()
        raise


def _copied(run: Path, folder: Path) -> bool:
    part = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(run, part, copy_function=_link, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        os.rename(part, folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if not isinstance(error, OSError):  # shutil.Error is one
            raise
        return False
    return True


def _link(source: str, target: str) -> None:
    """A second name for what is never changed, where the file system has such; a copy of everything else."""
    if source.endswith(_LINKED):
        with suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)


def where_found(found: Mapping[Path, Path]) -> str:
    """What `finished_elsewhere` has found, in words."""
    folders = list(dict.fromkeys(str(run.parent) for run in found.values()))
    among = ", ".join(folders[:3]) + (f" and {len(folders) - 3} more folders" if len(folders) > 3 else "")
    return f"{len(found)} finished run{'s' if len(found) > 1 else ''} of this command found in {among}"
