"""Real runs by submitit's executor for one machine: the same table as without it, also after a preemption."""

import os
import signal
import subprocess
import threading
import time

import pytest

from ncbench.sweep.launch import carry_out
from ncbench.sweep.states import states_of
from tests.helpers.engine_sweeps import LONG, attempts_of, plan_of, table_of, undisturbed_table

pytest.importorskip("submitit")
SIX = ["model.depth=2,3,4", "seed=0,1"]
HERE = {"cluster": "local", "array_parallelism": 2}


@pytest.mark.slow
def test_the_same_table_by_every_executor(tmp_path):
    expected = undisturbed_table(tmp_path, SIX)
    assert len(expected["run"].unique()) == 6
    local = plan_of(tmp_path / "local", SIX)
    slurm = plan_of(tmp_path / "slurm", SIX, executor="slurm", slurm=HERE)
    for plan in (local, slurm):
        assert carry_out(plan) == 0
        assert table_of(plan).equals(expected)
    pytest.importorskip("ray", reason="comes with ncbench[ray]")
    ray = plan_of(tmp_path / "ray", SIX, executor="ray")
    assert carry_out(ray) == 0
    assert table_of(ray).equals(expected)


@pytest.mark.slow
def test_a_failing_job_stops_no_other(tmp_path):
    plan = plan_of(tmp_path / "sweep", ["seed=0,1"], executor="slurm", slurm=HERE)
    plan.jobs[0].path.mkdir(parents=True)
    (plan.jobs[0].path / "run.json").write_text('{"config_hash": "of another", "status": "done"}')
    assert carry_out(plan) == 1
    assert [state.status for state in states_of(plan)] == ["failed", "done"]
    (failed,) = [path for path in (plan.folder / "slurm").rglob("*_log.err") if "Error" in path.read_text()]
    assert "another configuration" in failed.read_text()


def workers_of(folder):
    """The processes in which submitit runs a task of this sweep, not those that watch over them."""
    lines = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if "submitit.core._submit" in line and str(folder) in line]


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_changes_no_number(tmp_path):
    plan = plan_of(tmp_path / "sweep", LONG, executor="slurm", slurm=HERE)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(carry_out(plan)))
    thread.start()
    end = time.monotonic() + 180
    while not list(plan.folder.glob("*/checkpoints/last.ckpt")):
        assert time.monotonic() < end
        time.sleep(0.1)
    (worker,) = workers_of(plan.folder)
    os.kill(worker, signal.SIGUSR2)
    thread.join(300)
    assert ended == [0]
    (log,) = (plan.folder / "logs").glob("*.log")
    assert log.read_text().count(" on submitit: ") == 2
    assert [attempt["exit_status"] for attempt in attempts_of(plan)] == [0]  # the first was asked to make room
    assert table_of(plan).equals(undisturbed_table(tmp_path, LONG))
