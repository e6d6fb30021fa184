"""Sweeps of real trainings: failures that are named and mended, kills, and every launcher's same table."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from ncbench import train
from ncbench.records.folder import RunFolder
from ncbench.records.load import load_measures
from ncbench.run.compose import compose_command
from ncbench.sweep.__main__ import main as sweep
from ncbench.sweep.plan import read_plan
from ncbench.sweep.states import states_of

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=4", "trainer.progress=false"]

# A network of the user's own with faults that the configuration does not show.
FAULTY = textwrap.dedent(
    """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, *, input_shape, output_width, fault="none"):
            super().__init__()
            self.fault, self.calls = fault, 0
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, output_width), nn.ReLU())

        def forward(self, x):
            self.calls += self.training
            y = self.body(x)
            if FAULTS and self.fault == "diverges" and self.calls > 30:
                y = y * float("nan")
            if FAULTS and self.fault == "greedy":
                y = y + torch.zeros(2**32, dtype=torch.float64)[0]
            return y
    """
)


def own_network(folder, faults):
    (folder / "mine_faulty.py").write_text(f"FAULTS = {faults}\n{FAULTY}")


def test_a_real_sweep_is_planned_run_and_found_done(tmp_path, capsys):
    where = f"hydra.sweep.dir={tmp_path}/sweep"
    grid = [*TINY, "model.depth=2,3", where]
    assert sweep(["plan", *grid]) == 0
    planned = capsys.readouterr().out
    assert planned.startswith(
        f"2 jobs in {tmp_path}/sweep\n  model.depth: 2 values: 2, 3\n  replicas per job: 2; cores"
    )
    assert not (tmp_path / "sweep").exists()
    assert train.main(["-m", *grid]) == 0
    assert "2 of 2 jobs done" in capsys.readouterr().err
    assert sweep(["status", f"{tmp_path}/sweep"]) == 0
    assert capsys.readouterr().out.startswith("2 done of 2 jobs\n")
    assert set(load_measures(tmp_path / "sweep")["run"].astype(str)) == {
        p.path.name for p in read_plan(tmp_path / "sweep").jobs
    }
    # Another spelling of the command finds its jobs again; one of them is held, and one cannot be read.
    held, damaged = (job.path for job in read_plan(tmp_path / "sweep").jobs)
    with RunFolder(held):
        assert train.main(["-m", *grid]) == 0
    assert "2 of 2 jobs are done already" in capsys.readouterr().err
    whole = (damaged / "run.json").read_text()
    (damaged / "run.json").write_text(whole[:100])
    assert train.main(["-m", *grid]) == 1
    assert f"{damaged}/run.json is not valid JSON (" in capsys.readouterr().err
    (damaged / "run.json").write_text(whole)
    again = [*TINY, "model.depth=3,2", "trainer.checkpoint_seconds=5", where]
    assert train.main(["-m", *again]) == 0
    assert "2 of 2 jobs are done already" in capsys.readouterr().err
    last = damaged / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert train.main(["-m", *grid]) == 2  # as the single run says
    said = capsys.readouterr().err
    assert f"ncbench: job 1 (depth=3): {last}: is damaged (its checksum is another); put a whole copy" in said
    assert "job 0" not in said
    assert (damaged / "run.json").read_text() == whole


@pytest.mark.slow
def test_jobs_that_a_sweeper_of_hydras_hands_over(tmp_path, capfd):
    """Callbacks are called by Hydra's own main, which gives the jobs to the launcher's class."""
    callback = "+hydra.callbacks.log={_target_: hydra.experimental.callback.Callback}"
    assert train.main(["-m", *TINY, "model.depth=2,3", f"hydra.sweep.dir={tmp_path}/sweep", callback]) == 0
    assert "2 of 2 jobs done" in capfd.readouterr().err
    plan = read_plan(tmp_path / "sweep")
    assert [job.label for job in plan.jobs] == ["depth=2", "depth=3"]
    assert [state.status for state in states_of(plan)] == ["done"] * 2
    refused = ["-m", "+experiment=digits_mlp", "dataset=mnist", "dataset.root=/none", "seed=1,2"]
    assert train.main([*refused, f"hydra.sweep.dir={tmp_path}/none", callback]) == 2


@pytest.mark.slow
def test_three_jobs_fail_each_in_its_way_and_are_mended(tmp_path, monkeypatch, capsys):
    own_network(tmp_path, True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    tiny = ["+experiment=digits_mlp", "trainer.max_epochs=12", "measure.points=4", "trainer.progress=false"]
    tiny += [
        "model.backbone._target_=mine_faulty.Net",
        "~model.backbone.hidden",
        "trainer.checkpoint_seconds=0",
        "dataset.per_class=60",
    ]
    faults = "+model.backbone.fault=none,sound,diverges,greedy,stopped"
    where = f"hydra.sweep.dir={tmp_path}/sweep"
    # One job was interrupted before, and its checkpoints are damaged.
    assert sweep(["plan", *tiny, faults, where]) == 0
    single = [*tiny, "+model.backbone.fault=stopped"]
    job = compose_command([*tiny, faults, where], multirun=True).jobs[-1]
    command = [sys.executable, "-m", "ncbench.train", *single, f"hydra.run.dir={job.folder}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (job.folder / "checkpoints" / "previous.ckpt").is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in ("last.ckpt", "previous.ckpt"):
        (job.folder / "checkpoints" / name).write_bytes(b"damaged")

    assert train.main(["-m", *tiny, faults, where, "hydra.launcher.memory_gb=12"]) == 1
    said = capsys.readouterr().err
    assert "2 of 5 jobs done, 3 failed" in said
    reasons = {
        line.split("(fault=")[1].split(")")[0]: line for line in said.splitlines() if line.startswith("ncbench: job")
    }
    assert set(reasons) == {"diverges", "greedy", "stopped"}
    assert "diverged" in reasons["diverges"]
    assert "allocate" in reasons["greedy"] or "MemoryError" in reasons["greedy"]
    assert "checkpoints" in reasons["stopped"]

    own_network(tmp_path, False)
    for path in (job.folder / "checkpoints").iterdir():
        path.unlink()
    plan = read_plan(tmp_path / "sweep")
    before = len((plan.folder / "attempts.jsonl").read_text().splitlines())
    assert sweep(["resume", f"{tmp_path}/sweep"]) == 0
    assert len((plan.folder / "attempts.jsonl").read_text().splitlines()) == before + 3
    assert [state.status for state in states_of(plan)] == ["done"] * 5
    assert RunFolder(job.folder).info()["status"] == "done"


@pytest.mark.slow
def test_kills_of_jobs_and_of_the_launcher_change_nothing(tmp_path):
    grid = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=6000", "measure.points=20", "seed=0,1,2,3"]
    script = [sys.executable, "scripts/check_sweep_kills.py", "--kills", "6", "--work", str(tmp_path), *grid]
    done = subprocess.run([*script, "trainer.checkpoint_seconds=0.2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no difference" in done.stdout
