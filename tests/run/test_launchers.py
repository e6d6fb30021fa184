"""Launchers of Hydra's with processes of their own: what became of the jobs is said by their folders."""

import os
import re
import signal
from dataclasses import dataclass

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict

from ncbench import train
from ncbench.config.identity import differences
from ncbench.records.folder import RunFolder
from ncbench.records.run_hash import config_hash
from ncbench.records.schema import SCHEMA_VERSION
from ncbench.run import execute, launched
from ncbench.run.compose import compose_command

# Python's advice against forking a process with threads: nothing is computed in these children.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
TINY = ["+experiment=dufm_k10", "schedule.steps=2", "trainer.progress=false"]


@dataclass
class ForkingConf:
    _target_: str = f"{__name__}.ForkingLauncher"


class ForkingLauncher(Launcher):
    """Every job in a child of this process; like joblib, it raises where a child was killed, unless it `hides` that."""

    hides = False

    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        children = [self._fork(list(job), initial_job_idx + place) for place, job in enumerate(job_overrides)]
        ends = [os.waitpid(child, 0)[1] for child in children]
        if any(ends) and not self.hides:
            raise RuntimeError("a worker was killed\nby somebody")
        return [JobReturn(overrides=list(job), status=JobStatus.COMPLETED) for job in job_overrides]

    def _fork(self, overrides, number):
        child = os.fork()
        if child:
            return child
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        HydraConfig.instance().set_config(config)
        keys = {"job_dir_key": "hydra.sweep.dir", "job_subdir_key": "hydra.sweep.subdir", "configure_logging": False}
        run_job(hydra_context=self.context, task_function=self.task, config=config, **keys)
        os._exit(0)


def carried_out(config, folder, **_):
    """Stands for a training: what becomes of it goes by the seed."""
    if config.seed == 1:
        return 2
    if config.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    RunFolder(folder).path.mkdir(parents=True, exist_ok=True)
    status = "failed" if config.seed == 3 else "done"
    record(RunFolder(folder), config, status)
    return 0 if status == "done" else 1


def record(run, config, status):
    run.update(status=status, config_hash=config_hash(differences(config)), schema_version=SCHEMA_VERSION)


@pytest.fixture
def forking(monkeypatch, tmp_path):
    """A command that sweeps these seeds with the launcher above."""
    ConfigStore.instance().store(group="hydra/launcher", name="forking", node=ForkingConf, provider="tests")
    real, own = Plugins._instantiate, ForkingConf()._target_

    def instantiate(self, config):  # Hydra itself takes a class of hydra_plugins.* alone for a plugin
        return ForkingLauncher() if config._target_ == own else real(self, config)

    monkeypatch.setattr(Plugins, "_instantiate", instantiate)
    monkeypatch.setattr(execute, "execute", carried_out)
    return lambda seeds: [*TINY, f"seed={seeds}", "hydra/launcher=forking", f"hydra.sweep.dir={tmp_path}/sweep"]


@pytest.mark.parametrize(
    ("seeds", "status", "said"),
    [
        ("0,4", 0, ["2 of 2 jobs done"]),
        ("0,1", 2, ["1 of 2 jobs done", "ncbench: exit status 2: {1}"]),
        ("1,3,4", 2, ["1 of 3 jobs done", "ncbench: exit status 2: {1}", "ncbench: exit status 1: {3}"]),
        (
            "0,2",
            1,
            [
                "ncbench: the launcher failed: RuntimeError: a worker was killed by somebody; "
                "HYDRA_FULL_ERROR=1 shows where",
                "1 of 2 jobs done",
                "ncbench: exit status 1: {2}: it did not say how it ended, as one that was killed or never started",
            ],
        ),
    ],
)
def test_jobs_of_other_processes(forking, seeds, status, said, capfd):
    command = forking(seeds)
    assert train.main(["-m", *command]) == status
    folders = {str(job.config.seed): job.folder for job in compose_command(command, multirun=True).jobs}
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("[")]
    assert lines == [re.sub(r"{(\d)}", lambda seed: str(folders[seed[1]]), line) for line in said]


def test_what_a_launcher_raises_is_raised_on_request(forking, monkeypatch, capfd):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RuntimeError, match="a worker was killed"):
        train.main(["-m", *forking("2,0")])
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_a_job_that_vanished_is_told_from_one_that_was_refused(forking, monkeypatch, tmp_path, capfd):
    """By a launcher that does not say that a worker was killed, and in folders that an earlier command has written."""
    monkeypatch.setattr(ForkingLauncher, "hides", True)
    for earlier in (False, True):
        command = forking("0,1,2")
        jobs = {str(job.config.seed): job for job in compose_command(command, multirun=True).jobs}
        if earlier:
            for seed in ("1", "2"):
                record(RunFolder(jobs[seed].folder), jobs[seed].config, "failed")
        assert train.main(["-m", *command]) == 2
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("ncbench")]
        vanished = "it did not say how it ended, as one that was killed or never started"
        assert said == [
            f"ncbench: exit status 2: {jobs['1'].folder}",
            f"ncbench: exit status 1: {jobs['2'].folder}: {vanished}",
        ]
        assert list((tmp_path / "sweep").glob(".statuses*")) == []


def test_vanished_jobs_alone_are_exit_status_1(forking, monkeypatch):
    monkeypatch.setattr(ForkingLauncher, "hides", True)
    assert train.main(["-m", *forking("0,2")]) == 1


def test_two_launchers_at_once_do_not_forget_what_the_other_was_told(tmp_path, monkeypatch):
    """The second begins after a job of the first was refused, and ends before the first does; a third was killed."""
    jobs = compose_command([*TINY, "seed=1,2", f"hydra.sweep.dir={tmp_path}"], multirun=True).jobs
    here = os.getpid()

    def elsewhere(told, job):
        monkeypatch.setattr(os, "getpid", lambda: here + 1)
        told.tell(str(job.folder), 2)
        monkeypatch.setattr(os, "getpid", lambda: here)

    monkeypatch.setattr(os, "getpid", lambda: 4194305)  # which no process has
    killed = launched.Statuses(tmp_path)
    elsewhere(killed, jobs[0])
    first = launched.Statuses(tmp_path)
    elsewhere(first, jobs[0])
    assert len(list(tmp_path.iterdir())) == 1
    second = launched.Statuses(tmp_path)
    elsewhere(second, jobs[1])
    assert [list(told.of(jobs).values()) for told in (second, first)] == [[None, 2], [2, None]]
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_another_configuration_is_no_end(tmp_path):
    command = compose_command([*TINY, "seed=0,1,2,3", f"hydra.sweep.dir={tmp_path}"], multirun=True)
    told = launched.Statuses(tmp_path)
    for job in command.jobs[:2]:
        job.folder.mkdir()
    record(RunFolder(command.jobs[0].folder), command.jobs[0].config, "done")
    record(RunFolder(command.jobs[1].folder), command.jobs[0].config, "done")
    told.tell(str(command.jobs[2].folder), 2)
    assert list(told.of(command.jobs).values()) == [0, None, 2, None]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[" * 200_000, b"\xff\xfe\0", b'{"status": "done", "config_hash": 3}'],
    ids=["empty", "truncated", "a list", "nested", "binary", "a hash of numbers"],
)
def test_a_job_whose_run_json_is_damaged_is_not_done(content, tmp_path):
    jobs = compose_command([*TINY, "seed=1,2", f"hydra.sweep.dir={tmp_path}"], multirun=True).jobs
    for job in jobs:
        job.folder.mkdir(parents=True)
        (job.folder / "run.json").write_bytes(content)
    os.remove(jobs[1].folder / "run.json")
    os.mkfifo(jobs[1].folder / "run.json")  # which nobody writes into
    assert list(launched.Statuses(tmp_path).of(jobs).values()) == [None, None]
