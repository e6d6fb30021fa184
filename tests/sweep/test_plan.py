"""The plan of a sweep, the states of its jobs, and what a person reads of both."""

import io
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from rich.console import Console

from ncbench import train
from ncbench.config.cores import replicas_of
from ncbench.run.compose import compose_command
from ncbench.sweep import launch, progress
from ncbench.sweep.__main__ import main
from ncbench.sweep.leases import Machine
from ncbench.sweep.options import SweepOptions, visible_gpus
from ncbench.sweep.plan import add_to_plan, read_plan, write_plan
from ncbench.sweep.planning import make_plan
from ncbench.sweep.pool import Pool
from ncbench.sweep.process import command_of, environment_of
from ncbench.sweep.progress import Progress
from ncbench.sweep.show import plan_text, status_text
from ncbench.sweep.states import ATTEMPTS, JobState, how_it_ended, states_of
from ncbench.sweep.workload import cores_of_job, work_of
from tests.helpers.sweep_jobs import small_jobs

GRID = ["+experiment=dufm_k10", "replicate.seed=2", "+replicate.decay=[1e-3,2e-3,4e-3]", "schedule.steps=50"]


@pytest.fixture
def plan(tmp_path):
    command = compose_command([*GRID, "model.depth=2,3", f"hydra.sweep.dir='{tmp_path}/a b,c'"], multirun=True)
    return make_plan(command, "python -m ncbench.train -m ...", [], SweepOptions())


def test_what_a_job_needs_by_hand(plan):
    (first, second) = plan.jobs
    assert (first.label, second.label) == ("depth=2", "depth=3")
    assert first.replicas == 2 * 3
    assert first.work == 6 * 50
    assert (first.cores, first.devices, first.experiment) == (1, 1, "dufm_k10")
    assert [o for o in first.overrides if o.startswith("hydra")] == []


def test_epochs_count_as_work_where_there_are_no_steps():
    (job,) = compose_command(["+experiment=digits_mlp", "trainer.max_epochs=7"], multirun=False).jobs
    assert (replicas_of(job.config), work_of(job.config)) == (1, 7)
    assert cores_of_job(job.config) == (1, 1)


def test_a_plan_is_read_as_it_was_written_also_elsewhere(plan, tmp_path):
    write_plan(plan)
    assert read_plan(plan.folder) == plan
    moved = tmp_path / "moved"
    shutil.move(plan.folder, moved)
    there = read_plan(moved)
    assert [job.path for job in there.jobs] == [moved / job.path.name for job in plan.jobs]
    assert there.folder == moved


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, r"holds no sweep \(no sweep.json\)"),
        ("{", r"sweep.json: is no plan of a sweep \(Expecting property name"),
        ("[]", r"sweep.json: is no plan of a sweep \(its keys are not those of one\)"),
        ('{"jobs": [{}]}', r"sweep.json: is no plan of a sweep \(its keys are not those of one\)"),
        ("a folder", r"sweep.json is no regular file"),
    ],
)
def test_a_folder_without_a_readable_plan_is_one_line(tmp_path, content, line, capsys):
    if content == "a folder":
        (tmp_path / "sweep.json").mkdir()
    elif content is not None:
        (tmp_path / "sweep.json").write_text(content)
    for command in ("status", "resume"):
        assert main([command, str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("ncbench: ")
        assert error.count("\n") == 1
    with pytest.raises(ValueError, match=line):
        read_plan(tmp_path)


def test_the_command_of_a_job_is_composed_to_the_same_run(plan):
    command = command_of(plan, plan.jobs[1])
    (job,) = compose_command(command[3:], multirun=False).jobs
    assert str(job.folder) == plan.jobs[1].folder
    assert job.config.model.depth == 3


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"executor": "pbs"}, r"hydra.launcher.executor=pbs: must be one of local, slurm, ray"),
        ({"jobs_per_gpu": 0}, r"hydra.launcher.jobs_per_gpu=0: must be a whole number >= 1"),
        ({"retries": -1}, r"hydra.launcher.retries=-1: must be a whole number >= 0"),
        ({"cores_per_job": 1.5}, r"hydra.launcher.cores_per_job=1.5: must be a whole number >= 1"),
        ({"memory_gb": 0}, r"hydra.launcher.memory_gb=0: must be a number of gigabytes > 0 and < 1000000000, or null"),
        ({"memory_gb": 1e12}, r"hydra.launcher.memory_gb=1000000000000.0: must be a number of gigabytes > 0 and < "),
        ({"gpus": [0, 0]}, r"hydra.launcher.gpus=\[0, 0\]: must list different devices"),
        ({"slurm": 3}, r"hydra.launcher.slurm=3: must be a mapping"),
        ({"nodes": 3}, r"hydra.launcher.nodes=3: unknown key \(known: executor, "),
    ],
)
def test_options_that_cannot_be(values, line):
    with pytest.raises(ValueError, match=line):
        SweepOptions.of(values)


def test_options_by_the_command_line_of_train(tmp_path, capsys):
    where = f"hydra.sweep.dir={tmp_path}/s"
    assert train.main(["-m", *GRID, "model.depth=2,3", "hydra.launcher.retries=-1", where]) == 2
    assert capsys.readouterr().err == "ncbench: hydra.launcher.retries=-1: must be a whole number >= 0\n"
    assert not (tmp_path / "s").exists()


def test_gpus_are_those_that_the_environment_shows(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a,-1")
    assert visible_gpus() == ["3", "GPU-5a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    assert SweepOptions.of({"gpus": "1,2"}).gpus_here() == ["1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert SweepOptions().gpus_here() == ["0", "1"]
    assert SweepOptions.of({"gpus": []}).gpus_here() == []


def test_the_environment_of_a_job():
    values = environment_of(["1"], 3, {"PATH": "p", "OMP_NUM_THREADS": "8"})
    assert (values["CUDA_VISIBLE_DEVICES"], values["OMP_NUM_THREADS"], values["MKL_NUM_THREADS"]) == ("1", "3", "3")
    assert values["PATH"] == "p"
    assert environment_of([], 1, {})["CUDA_VISIBLE_DEVICES"] == ""  # there are GPUs, and it gets none
    assert "CUDA_VISIBLE_DEVICES" not in environment_of(None, 1, {})
    assert environment_of(None, 1, {"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    ("status", "printed", "reason"),
    [
        (0, ["done in 3 s"], ""),
        (2, ["composed", "ncbench: dataset.root=/x: holds no data", ""], "dataset.root=/x: holds no data"),
        (1, ["ncbench: failed: MemoryError: ; log in /a/ncbench.log"], "failed: MemoryError: "),
        (1, ["Traceback", "ImportError: no module"], "ImportError: no module"),
        (1, [], "it printed nothing"),
        (-15, ["whatever"], "killed by SIGTERM"),
    ],
)
def test_how_an_attempt_ended(status, printed, reason):
    assert how_it_ended(status, printed) == reason


def test_states_by_hand(tmp_path, monkeypatch):
    jobs = small_jobs(tmp_path, monkeypatch)
    plan = jobs.plan([(0, "done")] * 8)
    wrote = [
        {"status": "done", "wall_seconds": 3.0, "final": {"loss": {"median": 0.5}}},
        {"status": "failed", "error": "RuntimeError: planted"},
        {"status": "running"},
        {"status": "interrupted", "error": "SystemExit: stopped by a signal"},
        {"status": "done", "config_hash": "other"},
    ]
    for job, info in zip(plan.jobs, wrote, strict=False):
        job.path.mkdir(parents=True)
        (job.path / "run.json").write_text(json.dumps({"config_hash": "h", "schema_version": 2, **info}))
    plan.jobs[5].path.mkdir()
    (plan.jobs[5].path / "run.json").write_text("{")
    with open(plan.folder / ATTEMPTS, "w") as attempts:
        for number, status, reason in ((6, 2, "seed=-1: must be"), (6, 2, "seed=-2: must be"), (0, -9, "killed")):
            entry = {"run": plan.jobs[number].path.name, "exit_status": status, "reason": reason}
            attempts.write(json.dumps(entry) + "\n")
        attempts.write('{"run": "cut o')
    states = states_of(plan)
    assert states[:4] == [
        JobState("done", wall_seconds=3.0, loss=0.5),
        JobState("failed", "RuntimeError: planted"),
        JobState("interrupted", "its process was killed, or could not write how it ended"),
        JobState("interrupted", "SystemExit: stopped by a signal"),
    ]
    assert (states[4].status, states[5].status) == ("failed", "failed")
    assert "holds a run of another configuration" in states[4].reason
    assert "run.json is not valid JSON" in states[5].reason
    assert states[6] == JobState("failed", "seed=-2: must be", refused=True)
    assert states[7] == JobState("planned")
    text = status_text(plan, states, every=False)
    assert text.startswith("1 done, 2 interrupted, 4 failed, 1 planned of 8 jobs\n")
    assert "     1  failed       seed=1: RuntimeError: planted\n" in text
    assert "seed=7" not in text
    assert f"continue: python -m ncbench.sweep resume {plan.folder}\n" in text
    assert "     7  planned      seed=7\n" in status_text(plan, states, every=True)


def test_the_text_of_a_plan(plan):
    text = plan_text(plan)
    assert text.startswith(f"2 jobs in {plan.folder}\n  model.depth: 2 values: 2, 3\n")
    assert "replicas per job: 6; cores per job: 1" in text
    assert "by the records of dufm_k10, of another machine" in text
    unknown = replace(plan, jobs=[replace(plan.jobs[0], experiment="mine")])
    assert "cost: not known, as mine has no record" in plan_text(unknown)


def test_the_time_left_by_hand(tmp_path, monkeypatch):
    jobs = small_jobs(tmp_path, monkeypatch)
    plan = jobs.plan([(0, "done")] * 4)
    plan = replace(plan, jobs=[replace(job, work=float(1 + number)) for number, job in enumerate(plan.jobs)])
    told = Progress(plan, plan.jobs, 0, Console(file=io.StringIO()))
    assert told.seconds_left() is None  # no record, and none has ended
    told.started(plan.jobs[0], "cpu")
    told.started(plan.jobs[1], "cpu")
    told.ended(plan.jobs[0], "", 10.0)  # 10 s for one unit; 2 + 3 + 4 units are left, two at a time
    monkeypatch.setattr(time, "time", lambda: told._running[1][2] + 4.0)  # of which one has run for 4 s
    assert told.seconds_left() == (20 - 4 + 30 + 40) / 2
    told.ended(plan.jobs[1], "RuntimeError", 1.0)  # counts no more
    assert told.seconds_left() == (30 + 40) / 2
    monkeypatch.setattr(progress, "recorded_rate", lambda experiment: 2.0)
    assert Progress(plan, plan.jobs, 0, Console(file=io.StringIO())).seconds_left() == 2 * (1 + 2 + 3 + 4)


def test_a_refusal_is_said_as_soon_as_another_job_has_begun(tmp_path, monkeypatch):
    plan = small_jobs(tmp_path, monkeypatch).plan([(0, "done")] * 2, accelerator="cpu")
    written = io.StringIO()
    told = Progress(plan, plan.jobs, 0, Console(file=written))
    for job in plan.jobs:
        told.started(job, "cpu")
    told.ended(plan.jobs[0], "no data", 0.0, refused=True)
    told.tick(1, 0, 0)
    assert written.getvalue() == ""
    plan.jobs[1].path.mkdir(parents=True)
    (plan.jobs[1].path / "run.json").write_text("{}")
    for _ in range(2):
        told.tick(1, 0, 0)
    assert written.getvalue() == "job 0 (seed=0) failed after 0 s: no data\n"


def test_the_live_table_of_a_terminal(tmp_path, monkeypatch):
    plan = small_jobs(tmp_path, monkeypatch).plan([(0, "done")] * 5, accelerator="cpu")
    written = io.StringIO()
    told = Progress(plan, plan.jobs[1:], 1, Console(file=written, force_terminal=True, width=100))
    with told.shown():
        told.started(plan.jobs[1], "gpu 1")
        told.tick(1, 3, 0)
        told.ended(plan.jobs[1], "RuntimeError: planted", 3.0)
        monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.0)
        told.tick(0, 2, 1)
    text = written.getvalue()
    assert "1 of 5 done, 1 running, 3 waiting" in text
    assert re.search(r"seed=1\s+gpu 1\s+\d+ s", re.sub(r"\x1b\[[\d;]*m", "", text))
    assert "job 1 (seed=1) failed after 3 s: RuntimeError: planted" in text
    assert "1 of 5 done, 0 running, 2 waiting, 1 failed, 1 carried out by another command" in text


def test_cores_of_jobs(tmp_path, monkeypatch):
    """On 8 cores: 1 for a small network, more where there are fewer jobs than cores, never more than it can use."""
    monkeypatch.setattr("ncbench.sweep.pool.available_cores", lambda: 8)
    made = small_jobs(tmp_path, monkeypatch)

    def cores(number, **needs):
        plan = made.plan([(0, "done")] * number, accelerator="cpu")
        plan = replace(plan, jobs=[replace(job, **needs) for job in plan.jobs])
        pool = Pool(plan, plan.jobs, None)
        return pool._cores_of(plan.jobs[0])

    assert cores(2, cores=1, most_cores=1) == 1
    assert cores(2, cores=1, most_cores=100) == 4
    assert cores(2, cores=1, most_cores=3) == 3
    assert cores(20, cores=1, most_cores=100) == 1
    assert cores(20, cores=6, most_cores=6) == 6
    assert cores(2, cores=1, most_cores=100, devices=2) == 2


def test_a_job_that_wants_more_than_the_machine_gets_all_of_it():
    machine = Machine([], 1, 4)
    lease = machine.lease(0, 9)
    assert lease.cores == 4
    assert machine.lease(0, 1) is None
    machine.give_back(lease)
    assert machine.lease(0, 1).cores == 1


def test_resume_takes_keys_of_the_launcher_only(plan, monkeypatch, capsys):
    write_plan(plan)
    seen = []
    monkeypatch.setattr(launch, "carry_out", lambda plan: seen.append(plan.options) or 0)
    given = ["hydra.launcher.executor=ray", "+hydra.launcher.ray.num_cpus=2", "hydra.launcher.gpus=[0,1]"]
    assert main(["resume", str(plan.folder), *given]) == 0
    assert seen == [SweepOptions(executor="ray", ray={"num_cpus": 2}, gpus=["0", "1"])]
    for option, line in {
        "seed=1": "seed=1: must be hydra.launcher.KEY=VALUE, with one value",
        "hydra.launcher.retries=1,2": "hydra.launcher.retries=1,2: must be hydra.launcher.KEY=VALUE, with one value",
        "hydra.launcher.slurm={a": "hydra.launcher.slurm={a: ",
        "hydra.launcher.executor=@x": "hydra.launcher.executor=@x: must be one of local, slurm, ray",
    }.items():
        assert main(["resume", str(plan.folder), option]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"ncbench: {line}")
        assert error.count("\n") == 1
    assert main(["plan", "seed=1", "--config-dir", "/none"]) == 2
    assert capsys.readouterr().err == "ncbench: --config-dir /none: no such directory\n"
    assert main(["pause"]) == 2
    assert "pause: unknown command; one of plan, status, resume, rerun, verify is needed" in capsys.readouterr().err


def test_a_job_keeps_the_number_that_its_values_were_made_with(tmp_path):
    named = ["name='of ${hydra.job.num}'", "seed=1,2", f"hydra.sweep.dir={tmp_path}"]
    made = make_plan(compose_command([*GRID, *named], multirun=True), "", [], SweepOptions())
    for number, job in enumerate(made.jobs):
        (again,) = compose_command(command_of(made, job)[3:], multirun=False).jobs
        assert again.config.name == f"of {number}"
        assert str(again.folder) == job.folder


@pytest.mark.parametrize("words", [["--help"], ["plan", "-h"], ["status", "--help"]])
def test_help_wherever_it_is_asked_for(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: python -m ncbench.sweep plan")


def test_an_interrupt_while_jobs_are_composed_is_one_line(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ncbench.run.compose.compose_command", interrupted)
    assert main(["plan", "seed=1,2"]) == 1
    assert train.main(["-m", "seed=1,2"]) == 1
    assert capsys.readouterr().err == "ncbench: interrupted\n" * 2


def test_a_narrower_command_hides_no_job_of_before(plan):
    add_to_plan(plan)
    narrow = replace(plan, command="narrow", jobs=[replace(plan.jobs[1], number=0)], axes={"model.depth": ["3"]})
    add_to_plan(narrow)
    kept = read_plan(plan.folder)
    assert [(job.number, job.label) for job in kept.jobs] == [(0, "depth=3"), (1, "depth=2")]
    assert (kept.command, kept.earlier) == ("narrow", [plan.command])
    assert kept.axes == {"model.depth": ["2", "3"]}
    text = status_text(kept, states_of(kept), every=False)
    assert "2 planned of 2 jobs" in text
    assert "or: " not in text  # the last command alone would not run all
    add_to_plan(kept)  # as `resume` does
    assert read_plan(plan.folder) == kept
    add_to_plan(plan)
    assert read_plan(plan.folder) == plan


def test_a_damaged_plan_is_made_anew(plan):
    plan.folder.mkdir()
    (plan.folder / "sweep.json").write_text("{")
    add_to_plan(plan)
    assert read_plan(plan.folder) == plan


def test_status_reads_json_and_nothing_heavy(plan):
    write_plan(plan)
    heavy = "{'torch', 'pandas', 'hydra', 'pydantic', 'pyarrow', 'rich'}"
    code = (
        "import sys; from ncbench.sweep.__main__ import main; "
        f"main(['status', {str(plan.folder)!r}]); sys.exit(bool({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 planned of 2 jobs\n")


def test_seeds_whose_ensembles_overlap_are_told(tmp_path, capsys):
    def told(*overrides):
        assert main(["plan", "+experiment=dufm_k10", f"hydra.sweep.dir={tmp_path}", *overrides]) == 0
        return capsys.readouterr().err

    # Seeds 0, 1, 2 and 1, 2, 3 share two, those and 3, 4, 5 share one; twice, for each of the depths.
    assert "seed: 6 networks are trained twice" in told("replicate.seed=3", "seed=0,1,3", "model.depth=2,3")
    assert told("replicate.seed=3", "seed=0,3,6") == ""
    assert "seeds 64 apart (seed=0,64,128)" in told("seed=0,1")
    assert told("seed=0", "model.depth=2,3") == ""
