"""A sweep whose jobs are all refused, by their data alone too, is one line and leaves nothing behind."""

import shutil
import sys
from pathlib import Path

import pytest

from ncbench import train
from ncbench.sweep import plan as plan_module
from ncbench.sweep import process
from ncbench.sweep.launch import carry_out
from ncbench.sweep.plan import SWEEP, add_to_plan, read_plan
from ncbench.sweep.states import claim, release
from ncbench.sweep.taken_back import FolderBefore
from tests.helpers.sweep_jobs import small_jobs

NO_DATA = ["-m", "dataset=mnist", "dataset.root=/no/such/folder", "seed=1,2"]
LINE = "ncbench: dataset.root=/no/such/folder must hold the whole of MNIST, but "


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    return small_jobs(tmp_path, monkeypatch)


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def sweep(plan):
    """What a command does with its plan."""
    before = FolderBefore(plan.folder)
    status = carry_out(plan)
    if status == 2:
        before.restore([job.path for job in plan.jobs])
    return status


@pytest.mark.parametrize(
    "where",
    [[], ["hydra.sweep.dir=mine/sweep"], ["hydra.sweep.dir=mine", "hydra/launcher=basic"]],
    ids=["pool", "pool in a folder", "basic"],
)
def test_missing_data(where, tmp_path, monkeypatch, capfd):
    """The jobs of the pool say what a run says of such data, without importing torch for it; the other is real."""
    said = f"print({LINE + 'x is missing'!r}); raise SystemExit(2)"
    monkeypatch.setattr(process, "command_of", lambda plan, job: [sys.executable, "-c", said])
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    before = tree(tmp_path)
    assert train.main([*NO_DATA, *where]) == 2
    errors = capfd.readouterr().err
    assert errors.startswith(LINE)
    assert errors.count("\n") == 1 or "hydra/launcher=basic" in where
    assert tree(tmp_path) == before


def test_every_reason_is_said_once_and_the_folders_of_the_runs_go(jobs, tmp_path, capsys):
    assert sweep(jobs.plan([(0, "refused")] * 3, accelerator="cpu")) == 2
    assert capsys.readouterr().err == "ncbench: dataset.root=/none: holds no data\n"
    assert not (tmp_path / "sweep").exists()


def test_a_job_that_was_begun_keeps_all(jobs, capsys):
    plan = jobs.plan([(0, "refused"), (0.1, "done")], accelerator="cpu")
    assert sweep(plan) == 2
    said = capsys.readouterr().err
    assert "job 0 (seed=0) failed after 0 s: dataset.root=/none: holds no data" in said
    assert "1 of 2 jobs done, 1 failed; the same command continues: " in said
    assert read_plan(plan.folder).jobs == plan.jobs
    assert {".claims", "attempts.jsonl", "logs", SWEEP} < set(tree(plan.folder))


@pytest.mark.parametrize(
    "other", ["an earlier plan", "a job of another command", "a job that another command has", "the same jobs later"]
)
def test_what_is_not_of_this_command_stays(other, jobs, monkeypatch):
    plan = jobs.plan([(0, "refused")] * 2, accelerator="cpu")
    if other == "an earlier plan":
        add_to_plan(plan)
        assert sweep(plan) == 2
    else:
        before = FolderBefore(plan.folder)
        assert carry_out(plan) == 2
        held = claim(plan, plan.jobs[0]) if "has" in other else None
        if "later" in other:  # they wait in a queue, and nobody has begun them
            monkeypatch.setattr(plan_module, "_COMMAND", "another process")
            add_to_plan(plan)
            monkeypatch.undo()
        before.restore([job.path for job in (plan.jobs[:1] if other == "a job of another command" else plan.jobs)])
        release(held)
    assert {"logs", SWEEP} < set(tree(plan.folder))


def test_what_another_tool_makes_meanwhile_stays(jobs):
    """With Hydra's own launchers, which keep no plan, and with the pool and submitit's folder."""
    plan = jobs.plan([(0, "refused")], accelerator="cpu")
    theirs = ["logs/theirs.log", "slurm/77/code.py", "slurm/78_0/78_0_result.pkl", ".claims/theirs", "other.txt"]

    def others():
        for name in theirs:
            (plan.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (plan.folder / name).write_text("theirs")

    before = FolderBefore(plan.folder)
    others()
    (plan.folder / "multirun.yaml").write_text("of Hydra")
    before.restore([job.path for job in plan.jobs])
    assert {name for name in tree(plan.folder) if (plan.folder / name).is_file()} == set(theirs)
    shutil.rmtree(plan.folder)
    before = FolderBefore(plan.folder)
    assert carry_out(plan) == 2
    others()
    (plan.folder / "slurm" / "%j").mkdir()
    before.restore([job.path for job in plan.jobs])
    assert not (plan.folder / "slurm" / "%j").exists()
    theirs.remove("slurm/78_0/78_0_result.pkl")  # what submitit writes for a sweep is this one's
    assert {name for name in tree(plan.folder) if (plan.folder / name).is_file()} == set(theirs)


def test_a_folder_of_the_same_name_stays(jobs, tmp_path):
    (tmp_path / "sweep" / "logs").mkdir(parents=True)
    (tmp_path / "sweep" / "logs" / "mine.log").write_text("mine")
    assert sweep(jobs.plan([(0, "refused")], accelerator="cpu")) == 2
    assert tree(tmp_path / "sweep") == ["logs", "logs/mine.log"]
