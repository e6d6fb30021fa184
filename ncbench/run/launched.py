"""How the jobs ended that a launcher of Hydra's has carried out, be it in this process, in others or on other machines.

Their run folders say which are done; of the others the processes that carried them out say how they ended, as a run
that was refused, or that a full disk did not let begin, leaves no record.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra.core.utils import env_override

from ncbench._cli import of_file_system
from ncbench.config.identity import differences
from ncbench.records.run_hash import config_hash
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import SCHEMA_VERSION
from ncbench.records.small_files import read_json
from ncbench.records.whole_files import make_folder, write_json
from ncbench.run.compose import Job

__all__ = ["Statuses", "came_to_its_end", "say_how_it_went"]

_NOTES = ".statuses-"  # with the host, the process and a random word of the command


def came_to_its_end(launch: Callable[[], int], *, refuses: bool) -> bool:
    """Whether a launcher started all its jobs and waited for them; what it raises instead is said in one line.

    With HYDRA_FULL_ERROR=1 it is raised. A ValueError of a launcher that `refuses` in one line is left to the caller.
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with env_override({"HYDRA_FULL_ERROR": "1"}):  # Hydra then raises, and prints nothing itself
            return launch() == 0
    except Exception as error:
        if full or (refuses and isinstance(error, ValueError)):
            raise
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, OSError) and error.strerror:
            why = of_file_system(error)
        print(f"ncbench: the launcher failed: {why}; HYDRA_FULL_ERROR=1 shows where", file=sys.stderr)
        return False


class Statuses:
    """The exit statuses of a command's runs, told by the processes that carry them out.

    Those of this process are kept in memory; another one, which has a copy of this object, leaves a file in the sweep's
    folder, as a run that was refused leaves nothing in its own. What is in neither has ended without a word. The files
    lie in a folder of this command alone: another one may have jobs in the same sweep. What a command that was killed
    has left is removed by the next one on the same machine.
    """

    def __init__(self, sweep: Path) -> None:
        self._process, self._host = os.getpid(), socket.gethostname()
        self._notes = sweep.absolute() / f"{_NOTES}{self._host}-{self._process}-{secrets.token_hex(4)}"
        self.known: dict[str, int] = {}
        self._forget_the_dead()

    def tell(self, run: str, status: int) -> None:
        """Called where the run has ended."""
        if (os.getpid(), socket.gethostname()) == (self._process, self._host):
            self.known[os.path.abspath(run)] = status
            return
        with contextlib.suppress(OSError):
            make_folder(self._notes)
            write_json(self._note(os.path.abspath(run)), [status])

    def of(self, jobs: Sequence[Job]) -> dict[Path, int | None]:
        """By the folder of each job: 0 done, 2 refused, 1 failed or interrupted, None where nobody has told.

        A run that its folder calls done is done, whoever carried it out.
        """
        told = {job.folder: 0 if _is_done(job) else self._told(os.path.abspath(job.folder)) for job in jobs}
        shutil.rmtree(self._notes, ignore_errors=True)
        return told

    def _told(self, run: str) -> int | None:
        if run in self.known:
            return self.known[run]
        try:
            (status,) = read_json(self._note(run))
            return int(status)
        except (OSError, ValueError, TypeError):
            return None

    def _note(self, run: str) -> Path:
        return self._notes / hashlib.sha256(os.fsencode(run)).hexdigest()[:16]

    def _forget_the_dead(self) -> None:
        with contextlib.suppress(OSError):
            for name in os.listdir(self._notes.parent):
                process = re.fullmatch(rf"{re.escape(_NOTES + self._host)}-(\d+)-[0-9a-f]+", name)
                if process and not _is_alive(int(process[1])):
                    shutil.rmtree(self._notes.with_name(name), ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _is_done(job: Job) -> bool:
    try:
        info = read_run_info(job.folder)
        done, same = info["status"] == "done", info["config_hash"] == config_hash(differences(job.config))
        return bool(done and (same or info.get("schema_version") != SCHEMA_VERSION))
    except (OSError, ValueError, KeyError):  # none, or one that cannot be read
        return False


def say_how_it_went(statuses: Mapping[Path, int | None], folder: Path) -> int:
    """How many jobs are done, and every other with its exit status; how to draw those in the sweep's folder.

    Returns the exit status of all: 0 where every job is done, 2 where a job was refused, else 1.
    """
    failed = {run: status for run, status in statuses.items() if status != 0}
    print(f"{len(statuses) - len(failed)} of {len(statuses)} jobs done", file=sys.stderr)
    for run, status in failed.items():
        vanished = ": it did not say how it ended, as one that was killed or never started" if status is None else ""
        print(f"ncbench: exit status {status or 1}: {run}{vanished}", file=sys.stderr)
    if len(failed) < len(statuses):
        print(f"draw all: python -m ncbench.report {shlex.quote(str(folder))}")
    return max([0, *(status or 1 for status in failed.values())])
