"""What a job is, by what its folder, its last attempt and its lock say; each worked out by hand."""

import json

import pytest

from ncbench.records.errors import BadRecordsError
from ncbench.records.folder import RunFolder
from ncbench.sweep import workload
from ncbench.sweep.options import SweepOptions, visible_gpus
from ncbench.sweep.states import ATTEMPTS, JobState, states_of
from tests.helpers.sweep_jobs import small_jobs


def attempted(plan, *attempts):
    """Write the last attempts, (number, exit status, reason) each."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with open(plan.folder / ATTEMPTS, "w") as file:
        for number, status, reason in attempts:
            entry = {"run": plan.jobs[number].name_in(plan), "exit_status": status, "reason": reason}
            file.write(json.dumps(entry) + "\n")


def wrote(job, **info):
    job.path.mkdir(parents=True)
    (job.path / "run.json").write_text(json.dumps({"config_hash": "h", "schema_version": 2, **info}))


def test_a_job_that_left_no_file_is_what_its_last_attempt_says(tmp_path, monkeypatch):
    plan = small_jobs(tmp_path, monkeypatch).plan([(0, "done")] * 4)
    attempted(plan, (0, 1, "ImportError: torch"), (1, -9, "killed by SIGKILL"), (2, 2, "seed=-1: must be"))
    assert states_of(plan) == [
        JobState("failed", "ImportError: torch"),
        JobState("interrupted", "killed by SIGKILL"),
        JobState("failed", "seed=-1: must be", refused=True),
        JobState("planned"),
    ]


def test_a_run_that_an_attempt_left_is_what_both_say(tmp_path, monkeypatch):
    """`running` in run.json is what a process writes at its start: how it ended, only the attempt knows."""
    plan = small_jobs(tmp_path, monkeypatch).plan([(0, "done")] * 5)
    for job in plan.jobs[:4]:
        wrote(job, status="running", wall_seconds=3.0)
    wrote(plan.jobs[4], status="interrupted", wall_seconds=3.0, final={"loss": {"median": 0.5}})
    attempted(plan, (1, 1, "OSError: disk"), (2, -9, "killed by SIGKILL"), (4, 2, "seed=-1: must be"))
    with RunFolder(plan.jobs[3].path):
        states = states_of(plan)
    assert states == [
        JobState("interrupted", "its process was killed, or could not write how it ended", wall_seconds=3.0),
        JobState("failed", "OSError: disk", wall_seconds=3.0),
        JobState("interrupted", "killed by SIGKILL", wall_seconds=3.0),
        JobState("running", wall_seconds=3.0),
        JobState("failed", "seed=-1: must be", wall_seconds=3.0, loss=0.5, refused=True),
    ]


@pytest.mark.parametrize(("script", "gpus"), [("printf '0\\n1\\n'", ["0", "1"]), ("echo No devices; exit 9", [])])
def test_without_the_variable_gpus_are_those_that_nvidia_smi_lists(tmp_path, monkeypatch, script, gpus):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == SweepOptions().gpus_here() == gpus


def test_damaged_lines_of_the_attempts_are_passed_over(tmp_path, monkeypatch):
    plan = small_jobs(tmp_path, monkeypatch).plan([(0, "done")] * 2)
    attempted(plan, (0, 1, "ImportError: torch"))
    name = json.dumps(plan.jobs[1].name_in(plan))
    lines = [
        "[" * 200_000,
        "[]",
        "3",
        f'{{"run": {name}}}',
        f'{{"run": {name}, "exit_status": "x", "reason": 1}}',
        '{"ru',
    ]
    with open(plan.folder / ATTEMPTS, "ab") as file:
        file.write("\n".join(lines).encode() + b"\n\xff\xfe\0\n")
    assert states_of(plan) == [JobState("failed", "ImportError: torch"), JobState("planned")]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 200_000, '{"status": 3}', "{}"],
    ids=["empty", "truncated", "a list", "nested", "a status of numbers", "an empty object"],
)
def test_a_damaged_run_json_is_a_failed_job_with_the_reason(tmp_path, monkeypatch, text):
    plan = small_jobs(tmp_path, monkeypatch).plan([(0, "done")])
    wrote(plan.jobs[0], status="done")
    (plan.jobs[0].path / "run.json").write_text(text)
    (state,) = states_of(plan)
    assert state.status == "failed"
    assert str(plan.jobs[0].path / "run.json") in state.reason
    assert "\n" not in state.reason


def test_a_damaged_committed_record_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(workload, "CONF_DIR", tmp_path / "conf")
    record = tmp_path / "docs" / "results" / "a"
    record.mkdir(parents=True)
    for name, text in (("run.json", "[" * 200_000), ("config.yaml", "a: &a [*a]")):
        (record / "run.json").write_text('{"name": "x", "wall_seconds": 3.0}')
        (record / "config.yaml").write_text("schedule: {steps: 6}")
        assert workload.recorded_rate("x") == 0.5
        (record / name).write_text(text)
        with pytest.raises(BadRecordsError, match=rf"{name} (is nested|has the alias)"):
            workload.recorded_rate("x")
