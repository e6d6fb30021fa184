"""The pull queue: leases of GPUs and cores, failures, retries, interrupts; small scripts in place of trainings."""

import heapq
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from ncbench.sweep import pool as pool_module
from ncbench.sweep.launch import carry_out
from ncbench.sweep.leases import Machine
from ncbench.sweep.plan import read_plan
from ncbench.sweep.states import ATTEMPTS, claim, log_of, states_of
from tests.helpers.sweep_jobs import small_jobs


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    return small_jobs(tmp_path, monkeypatch)


def attempts(plan):
    return [json.loads(line) for line in (plan.folder / ATTEMPTS).read_text().splitlines()]


def list_schedule(seconds, machines):
    """When everything is done if each machine takes the next job as soon as it is free."""
    free = [0.0] * machines
    for duration in seconds:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def overlapping(entries):
    """Pairs of attempts that ran at the same time at the same place."""
    return [
        (a["job"], b["job"])
        for i, a in enumerate(entries)
        for b in entries[i + 1 :]
        if a["place"] == b["place"] and a["started"] < b["ended"] and b["started"] < a["ended"]
    ]


def test_list_schedule_by_hand():
    assert list_schedule([3, 2, 2, 1], 2) == 4
    assert list_schedule([1, 1, 1], 3) == 1


def test_two_gpus_and_twelve_jobs(jobs):
    seconds = [0.4, 0.9, 0.3, 0.5, 0.8, 0.3, 0.6, 0.2, 0.7, 0.4, 0.5, 0.6]
    plan = jobs.plan([(s, "done") for s in seconds], gpus=[0, 1])
    began = time.time()
    assert carry_out(plan) == 0
    total = time.time() - began
    entries = attempts(plan)
    assert len(entries) == 12
    assert overlapping(entries) == []
    by_name = {entry["run"]: entry["place"] for entry in entries}
    for job, wrote in zip(plan.jobs, jobs.wrote(), strict=True):
        assert by_name[job.path.name] == f"gpu {wrote['device']['visible_devices']}"
    assert {entry["place"] for entry in entries} == {"gpu 0", "gpu 1"}
    in_order = sorted(entries, key=lambda entry: entry["started"])
    ideal = list_schedule([entry["ended"] - entry["started"] for entry in in_order], 2)
    assert total <= 1.5 * ideal  # scripts/bench_sweep.py measures it with jobs that are longer than a poll


def test_the_check_sees_two_jobs_on_one_gpu(jobs, monkeypatch):
    monkeypatch.setattr(Machine, "_lock", lambda self, name, alone: [os.open(os.devnull, os.O_RDONLY)])
    plan = jobs.plan([(0.4, "done")] * 3, gpus=[0])
    assert carry_out(plan) == 0
    assert overlapping(attempts(plan))


def test_parts_of_a_gpu(jobs):
    plan = jobs.plan([(0.5, "done")] * 4, gpus=[7], jobs_per_gpu=2)
    assert carry_out(plan) == 0
    entries = attempts(plan)
    assert {entry["place"] for entry in entries} == {"gpu 7"}
    moments = [entry["started"] + 0.01 for entry in entries]
    at_once = [sum(e["started"] < t < e["ended"] for e in entries) for t in moments]
    assert max(at_once) == 2


def test_gpus_are_filled_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    machine = Machine(["0", "1"], 4, 8)
    leases = [machine.lease(1, 1) for _ in range(4)]
    assert [lease.gpus for lease in leases] == [["0"], ["1"], ["0"], ["1"]]
    machine.give_back(leases[1])
    assert machine.lease(1, 1).gpus == ["1"]


def test_threads_of_a_job_are_those_of_all_its_processes(jobs, monkeypatch):
    monkeypatch.setattr(pool_module, "available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(pool_module, "usable_cores", lambda: 8)
    assert carry_out(jobs.plan([(0.1, "done")], accelerator="cpu", devices=2, cores_per_job=3)) == 0
    assert [wrote["threads"] for wrote in jobs.wrote()] == ["6"]


def test_a_memory_limit_that_cannot_be_set_leaves_no_process(jobs, monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("ncbench.sweep.process.resource.prlimit", refuse)
    plan = jobs.plan([(30.0, "done")], accelerator="cpu", memory_gb=5)
    assert carry_out(plan) == 1
    assert "it could not be started (Operation not permitted)" in capsys.readouterr().err
    assert claim(plan, plan.jobs[0]) is not None  # nobody has it any more


def test_a_refused_executor_changes_no_plan(jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    plan = jobs.plan([(0.1, "done")], executor="slurm")
    with pytest.raises(ValueError, match="there is no sbatch on this machine"):
        carry_out(plan)
    assert not plan.folder.exists()


def test_a_moved_sweep_keeps_its_reasons(jobs, tmp_path):
    plan = jobs.plan([(0.0, "refused"), (0.0, "done")], accelerator="cpu")
    assert carry_out(plan) == 2
    plan.folder.rename(tmp_path / "moved")
    moved = read_plan(tmp_path / "moved")
    assert [state.status for state in states_of(moved)] == ["failed", "done"]
    assert states_of(moved)[0].reason == "dataset.root=/none: holds no data"


def test_logs_of_nested_folders_are_their_own(jobs):
    plan = jobs.plan([(0, "done")] * 2)
    paths = [str(plan.folder / name) for name in ("2/0", "3/0")]
    plan = replace(plan, jobs=[replace(job, folder=path) for job, path in zip(plan.jobs, paths, strict=True)])
    assert [log_of(plan, job).name for job in plan.jobs] == ["2-0.log", "3-0.log"]


def test_without_gpus_by_request_a_job_sees_none(jobs, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert carry_out(jobs.plan([(0.0, "done")], gpus=[])) == 0
    assert jobs.wrote()[0]["device"]["visible_devices"] == ""


def test_a_job_of_two_devices_has_two_gpus_for_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    machine, other_sweep = Machine(["0", "1"], 2, 4), Machine(["0", "1"], 2, 4)
    part = other_sweep.lease(1, 1)
    assert part.gpus == ["0"]
    assert machine.lease(2, 1) is None  # one of them is in use by another sweep of this user
    other_sweep.give_back(part)
    both = machine.lease(2, 1)
    assert both.gpus == ["0", "1"]
    assert other_sweep.lease(1, 1) is None
    machine.give_back(both)
    assert other_sweep.lease(1, 1).gpus == ["0"]


def test_more_devices_than_gpus_are_refused(jobs):
    with pytest.raises(ValueError, match=r"trainer.devices=3: must be at most 2, the GPUs of this machine"):
        carry_out(jobs.plan([(0, "done")], devices=3, gpus=[0, 1]))


def test_cores_are_shared_out(jobs, monkeypatch):
    monkeypatch.setattr(pool_module, "available_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    plan = jobs.plan([(0.3, "done")] * 4, accelerator="cpu", cores_per_job=2)
    assert carry_out(plan) == 0
    entries = attempts(plan)
    assert max(sum(e["started"] < t["started"] + 0.01 < e["ended"] for e in entries) for t in entries) == 2
    assert [wrote["threads"] for wrote in jobs.wrote()] == ["2"] * 4


def test_the_persons_bound_on_threads_holds_in_every_job(jobs, monkeypatch):
    monkeypatch.setattr(pool_module, "available_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert carry_out(jobs.plan([(0.1, "done")] * 2, accelerator="cpu", cores_per_job=2)) == 0
    assert [wrote["threads"] for wrote in jobs.wrote()] == ["1"] * 2


def test_failures_are_named_with_reasons_and_stop_no_other(jobs, capsys):
    fates = ["done", "failed", "killed", "refused", "done"]
    plan = jobs.plan([(0.1, fate) for fate in fates], accelerator="cpu")
    assert carry_out(plan) == 1
    said = capsys.readouterr()
    assert "2 of 5 jobs done" in said.err
    assert "job 1 (seed=1) failed: RuntimeError: planted" in said.err
    assert "job 2 (seed=2) interrupted: killed by SIGKILL" in said.err
    assert "job 3 (seed=3) failed: dataset.root=/none: holds no data" in said.err
    assert "the same command continues: python -m ncbench.train -m seed=0,1" in said.err
    assert f"draw all: python -m ncbench.report {plan.folder}" in said.out
    # Mended, the same sweep runs these three and no other.
    for job in plan.jobs:
        jobs.does[job.folder] = (0.1, "done")
    assert carry_out(plan) == 0
    assert [wrote["starts"] for wrote in jobs.wrote()] == [1, 2, 2, 1, 1]


def test_wrong_input_of_every_job_is_exit_status_2(jobs):
    assert carry_out(jobs.plan([(0, "refused")] * 2, accelerator="cpu")) == 2


def test_retries(jobs, capsys):
    plan = jobs.plan([(0.1, "killed once"), (0.1, "failed"), (0.1, "refused")], accelerator="cpu", retries=2)
    assert carry_out(plan) == 1
    assert [entry["job"] for entry in sorted(attempts(plan), key=lambda e: e["job"])] == [0, 0, 1, 1, 1, 2]
    assert "1 of 3 jobs done, 2 failed" in capsys.readouterr().err


def test_a_job_of_another_command_is_waited_for_and_not_run_twice(jobs):
    plan = jobs.plan([(0.1, "done")] * 3, accelerator="cpu")
    held = claim(plan, plan.jobs[1])

    def other_command():
        subprocess.run(jobs.command(plan, plan.jobs[1]), check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        os.close(held)

    other = threading.Timer(0.7, other_command)
    other.start()
    assert carry_out(plan) == 0
    other.join()
    assert [wrote["starts"] for wrote in jobs.wrote()] == [1, 1, 1]
    assert [entry["job"] for entry in attempts(plan)] == [0, 2]


def test_two_sweeps_at_once_run_every_job_once(jobs):
    plan = jobs.plan([(0.15, "done")] * 8, accelerator="cpu")
    statuses = []
    second = threading.Thread(target=lambda: statuses.append(carry_out(plan)))
    second.start()
    statuses.append(carry_out(plan))
    second.join()
    assert statuses == [0, 0]
    assert [wrote["starts"] for wrote in jobs.wrote()] == [1] * 8


@pytest.fixture
def in_the_foreground():
    """A shell has its background commands ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_foreground")
@pytest.mark.parametrize(("interrupts", "done", "status"), [(1, 2, "planned"), (2, 0, "interrupted")])
def test_interrupts_drain_or_stop(jobs, interrupts, done, status, capsys, monkeypatch):
    monkeypatch.setattr(pool_module, "available_cores", lambda: 2)
    plan = jobs.plan([(1.0, "done")] * 5, accelerator="cpu")

    def interrupt():
        while len([p for p in plan.jobs if (p.path / "run.json").is_file()]) < 2:
            time.sleep(0.02)
        for _ in range(interrupts):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    person = threading.Thread(target=interrupt)
    person.start()
    assert carry_out(plan) == 1
    person.join()
    states = [state.status for state in states_of(plan)]
    assert states.count("done") == done
    assert states.count(status) == (3 if interrupts == 1 else 2)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"{done} of 5 jobs done, {5 - done} left; the same command continues: python -m ncbench")


def test_a_folder_that_cannot_be_made_is_one_line(jobs, tmp_path):
    (tmp_path / "file").write_text("")
    plan = replace(jobs.plan([(0, "done")]), folder=tmp_path / "file" / "sweep")
    with pytest.raises(ValueError, match=r"hydra.sweep.dir=.*/file/sweep: cannot be written \(Not a directory\)"):
        carry_out(plan)


def test_a_job_that_cannot_be_started_stops_no_other(jobs, monkeypatch, capsys):
    monkeypatch.setattr(pool_module, "available_cores", lambda: 1)
    plan = jobs.plan([(0.1, "done")] * 3, accelerator="cpu")

    def command(plan, job):
        return ["/no/such/python"] if job.number == 1 else jobs.command(plan, job)

    monkeypatch.setattr("ncbench.sweep.process.command_of", command)
    assert carry_out(plan) == 1
    assert [state.status for state in states_of(plan)] == ["done", "planned", "done"]
    said = capsys.readouterr().err
    assert "job 1 (seed=1) failed after 0 s: it could not be started (/no/such/python: No such file" in said
