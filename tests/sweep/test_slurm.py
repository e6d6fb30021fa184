"""The executor `slurm`: what SLURM is asked for, and jobs by submitit's own executor for one machine."""

import fcntl
import os
import re
import threading
import time

import pytest

from ncbench.sweep import slurm
from ncbench.sweep.engines import carry_out_job, note_lost, require_engine
from ncbench.sweep.plan import write_plan
from ncbench.sweep.slurm import SlurmTask, prepare_submitit
from ncbench.sweep.states import claim, states_of
from tests.helpers.sweep_jobs import small_jobs
from tests.helpers.told import Told

submitit = pytest.importorskip("submitit")


@pytest.fixture
def made(tmp_path, monkeypatch):
    return small_jobs(tmp_path, monkeypatch)


@pytest.fixture
def on_threads(monkeypatch):
    """submitit's executor on threads of this process, so that the jobs may be small scripts; how many ran at once."""
    seen = {"now": 0, "most": 0}

    class Submitted:
        def __init__(self, task, number):
            self.job_id, self.state, self.paths = str(number), "FAILED", type("Paths", (), {"stderr": "its.err"})
            self.thread = threading.Thread(target=self.run, args=[task])
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])
            self.thread.start()

        def run(self, task):
            try:
                task()
            except RuntimeError:
                pass
            finally:
                seen["now"] -= 1

        def done(self):
            return not self.thread.is_alive()

    class Executor:
        def submit_array(self, tasks):
            return [Submitted(task, number) for number, task in enumerate(tasks)]

    monkeypatch.setattr(slurm, "_executor", lambda plan, cluster, parameters: Executor())
    return seen


def test_a_failing_job_stops_no_other_and_no_more_run_at_once_than_asked(made, on_threads):
    plan = made.plan(
        [(0.1, "done"), (0.1, "failed"), (0.1, "done"), (0.1, "refused")],
        executor="slurm",
        slurm={"cluster": "local", "array_parallelism": 2},
    )
    write_plan(plan)
    told = Told()
    prepare_submitit(plan, plan.jobs, told)()
    assert [state.status for state in states_of(plan)] == ["done", "failed", "done", "failed"]
    assert on_threads["most"] == 2
    reasons = [told.reasons[number][-1] for number in range(4)]
    assert reasons == ["", "RuntimeError: planted", "", "dataset.root=/none: holds no data"]


def test_a_job_that_never_began_has_that_for_a_reason(made, on_threads, monkeypatch):
    monkeypatch.setattr(SlurmTask, "__call__", lambda self: None)
    plan = made.plan([(0.1, "done")], executor="slurm", slurm={"cluster": "local"})
    write_plan(plan)
    prepare_submitit(plan, plan.jobs, Told())()
    (state,) = states_of(plan)
    assert state.status == "failed"
    assert state.reason == "local job 0: it did not begin (FAILED); see its.err"


def test_a_failed_job_is_a_failed_job_for_slurm(made):
    plan = made.plan([(0.0, "failed")], executor="slurm")
    write_plan(plan)
    with pytest.raises(RuntimeError, match="planted"):
        SlurmTask(str(plan.folder), plan.jobs[0].folder, 1)()


@pytest.mark.parametrize(("fate", "retries", "starts"), [("killed once", 1, 2), ("failed", 2, 3), ("refused", 2, None)])
def test_a_job_is_tried_again_as_often_as_asked(made, fate, retries, starts):
    plan = made.plan([(0.0, fate)], executor="slurm", retries=retries)
    write_plan(plan)
    attempts = []
    reason = carry_out_job(str(plan.folder), plan.jobs[0].folder, "here", 1, attempts.append)
    assert (reason == "") == (fate == "killed once")
    assert len(attempts) == (starts or 1)


def test_a_job_that_another_process_has_is_waited_for(made):
    plan = made.plan([(0.0, "done")], executor="slurm")
    write_plan(plan)
    held = claim(plan, plan.jobs[0])
    assert held is not None
    worker = threading.Thread(target=SlurmTask(str(plan.folder), plan.jobs[0].folder, 1))
    worker.start()
    time.sleep(0.5)
    assert worker.is_alive()
    assert made.wrote() == []
    fcntl.flock(held, fcntl.LOCK_UN)
    os.close(held)
    worker.join(30)
    assert [info["status"] for info in made.wrote()] == ["done"]


def test_what_is_done_is_not_run_again(made):
    plan = made.plan([(0.0, "done")], executor="slurm")
    write_plan(plan)
    for _ in range(2):
        SlurmTask(str(plan.folder), plan.jobs[0].folder, 1)()
    assert made.wrote()[0]["starts"] == 1


def test_at_the_signal_a_run_saves_its_state_and_the_job_is_queued_again(made):
    plan = made.plan([(30.0, "done")], executor="slurm")
    write_plan(plan)
    task = SlurmTask(str(plan.folder), plan.jobs[0].folder, 1)

    def carried_out():
        with pytest.raises(RuntimeError):
            task()

    worker = threading.Thread(target=carried_out)
    worker.start()
    while not made.wrote():
        time.sleep(0.05)
    again = task.checkpoint()
    assert made.wrote()[0]["status"] == "interrupted"
    worker.join(30)
    assert isinstance(again.function, SlurmTask)
    assert again.function.run == plan.jobs[0].folder
    assert states_of(plan)[0].status == "interrupted"


def test_a_job_that_is_no_longer_planned_is_refused(made):
    plan = made.plan([(0.0, "done")], executor="slurm")
    write_plan(plan)
    gone = str(plan.folder / "gone")
    assert "has no job in" in carry_out_job(str(plan.folder), gone, "here", 1, lambda attempt: None)


def test_lost_jobs_are_noted(made):
    plan = made.plan([(0.0, "done")], executor="slurm")
    write_plan(plan)
    note_lost(plan, plan.jobs[0], "slurm", "NODE_FAIL")
    assert [(state.status, state.reason) for state in states_of(plan)] == [("failed", "NODE_FAIL")]


def test_one_array_with_the_parameters_asked_for(made, tmp_path, monkeypatch):
    """A stand-in for sbatch keeps what it was given."""
    tools = tmp_path / "bin"
    tools.mkdir()
    kept = tmp_path / "submitted"
    for name, script in (("sbatch", f'cat "$1" >> {kept}; echo Submitted batch job 77'), ("srun", "exit 1")):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    given = {"wait": False, "timeout_min": 90, "partition": "gpu", "mem_gb": 8, "gpus_per_node": 1}
    options = {"array_parallelism": 2, "cpus_per_task": 3, **given}
    plan = made.plan([(0.0, "done")] * 4, executor="slurm", slurm=options)
    write_plan(plan)
    told = Told()
    prepare_submitit(plan, plan.jobs, told)()
    lines = kept.read_text().splitlines()
    for asked in (
        "--array=0-3%2",
        "--time=90",
        "--partition=gpu",
        "--mem=8GB",
        "--gpus-per-node=1",
        "--cpus-per-task=3",
        "--signal=USR2@90",
        "--job-name=ncbench-sweep",
    ):
        assert f"#SBATCH {asked}" in lines
    assert lines.count("#!/bin/bash") == 1
    status = f"python -m ncbench.sweep status {plan.folder}"
    assert told.said == [f"4 jobs are submitted; scancel 77 ends them; {status} shows how far they are"]
    assert [state.status for state in states_of(plan)] == ["planned"] * 4


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "hydra.launcher.slurm.cluster=slurm: there is no sbatch on this machine; local runs jobs here"),
        (
            {"cluster": "local", "wait": False},
            "hydra.launcher.slurm.wait=False: needs cluster=slurm, whose queue starts",
        ),
        ({"cluster": "pbs"}, "hydra.launcher.slurm.cluster=pbs: must be one of slurm, local, debug"),
        ({"cluster": "local", "memory": 4}, "hydra.launcher.slurm: Unknown argument 'memory' for executor 'slurm'"),
        ({"cluster": "local", "timeout_min": "long"}, 'hydra.launcher.slurm: Parameter "timeout_min" expected type'),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(made, monkeypatch, tmp_path, options, line):
    monkeypatch.setenv("PATH", str(tmp_path))
    plan = made.plan([(0.0, "done")], executor="slurm", slurm=options)
    with pytest.raises(ValueError, match=f"^{re.escape(line)}") as refused:
        prepare_submitit(plan, plan.jobs, Told())()
    assert "\n" not in str(refused.value)


def test_a_missing_engine_is_said_with_the_command_that_installs_it():
    with pytest.raises(ValueError, match=r"executor=slurm: needs the package .* pip install 'ncbench\[slurm\]'"):
        require_engine("no_such_engine", "slurm")
