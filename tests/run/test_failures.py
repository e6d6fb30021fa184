"""Runs that go wrong: divergence, checkpoints that cannot be trusted, a full disk."""

import errno
import logging
import math
from types import SimpleNamespace

import pytest
import torch

from ncbench.measure.__main__ import main as measure_command
from ncbench.records.folder import RunFolder
from ncbench.records.load import load_final
from ncbench.report import load_measures
from ncbench.report.settings import end_points
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from ncbench.training.checkpoints import AtomicCheckpointIO
from ncbench.training.classifier import ClassifierModule

DIGITS = ["+experiment=digits_mlp", "dataset.per_class=12", "dataset.batch_size=40", "trainer.max_epochs=4"]
DIGITS += ["measure.points=5", "trainer.progress=false", "trainer.checkpoint_seconds=0"]
DUFM = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=40", "measure.points=6"]
DUFM += ["trainer.progress=false", "trainer.checkpoint_seconds=0"]


def execute(overrides, folder):
    (composed,) = compose_jobs(overrides, multirun=False)
    return run_execute.execute(composed.config, folder, command="test", overrides=overrides)


def steps_recorded(folder):
    return sorted(set(load_measures(folder).step))


@pytest.fixture
def diverges(monkeypatch):
    """From a global step on the loss of ClassifierModule is this number."""
    real = ClassifierModule.training_step

    def plant(at, value):
        def training_step(self, batch, batch_idx):
            loss = real(self, batch, batch_idx)
            return loss * value if self.trainer.global_step >= at else loss

        monkeypatch.setattr(ClassifierModule, "training_step", training_step)

    return plant


def test_a_network_that_diverges_fails_and_keeps_its_last_finite_checkpoint(tmp_path, diverges, monkeypatch, capsys):
    assert execute(DIGITS, tmp_path / "whole") == 0
    with monkeypatch.context():
        diverges(7, float("nan"))  # 3 steps an epoch: the second one of the third epoch, the eighth of all
        assert execute(DIGITS, tmp_path / "run") == 1
    info = RunFolder(tmp_path / "run").info()
    assert (info["status"], info["error"]) == ("failed", "diverged: the loss is nan at step 8 (epoch 3)")
    assert capsys.readouterr().err.splitlines()[-1].startswith("ncbench: failed: diverged: the loss is nan at step 8")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["ncbench_step"] == 6
    assert all(torch.isfinite(x).all() for x in saved["state_dict"].values())
    assert steps_recorded(tmp_path / "run") == [0, 3, 6]
    monkeypatch.undo()
    assert execute(DIGITS, tmp_path / "run") == 0
    assert RunFolder(tmp_path / "run").info()["digests"] == RunFolder(tmp_path / "whole").info()["digests"]


def test_a_weight_that_is_not_finite_is_found_though_the_loss_is(tmp_path, monkeypatch):
    real = ClassifierModule.on_train_batch_end

    def breaks(self, *args):
        real(self, *args)
        if self.trainer.global_step == 6:  # the last step of an epoch, whose loss was finite
            with torch.no_grad():
                self.network.head[1].linear.weight[0, 0] = float("inf")

    monkeypatch.setattr(ClassifierModule, "on_train_batch_end", breaks)
    assert execute(DIGITS, tmp_path / "run") == 1
    said = RunFolder(tmp_path / "run").info()["error"]
    assert said == "diverged: network.head.2.linear.weight is not finite after step 6 (epoch 2)"
    assert steps_recorded(tmp_path / "run") == [0, 3]


def test_an_ensemble_that_diverged_as_a_whole_fails(tmp_path):
    assert execute([*DUFM, "optimizer.lr=500"], tmp_path / "run") == 1
    info = RunFolder(tmp_path / "run").info()
    assert info["status"] == "failed"
    assert info["error"].startswith("diverged: every replica (2 of 2), the last one in the block up to step ")
    assert [entry["replica"] for entry in info["replica_states"]["diverged"]] == [0, 1]


def test_a_replica_that_diverged_is_in_no_final_value(tmp_path):
    """Its recorded losses are finite, those of the block's start; median and report are of the one that is left."""
    overrides = [word for word in DUFM if not word.startswith("replicate.")]
    folder = tmp_path / "run"
    assert execute([*overrides, "replicate.seed=1", "+replicate.lr=[0.5,500]"], folder) == 0
    info = RunFolder(folder).info()
    assert [entry["replica"] for entry in info["replica_states"]["diverged"]] == [1]
    ends = load_final(folder, measures="loss").sort_values("replica")["value"].tolist()
    assert all(map(math.isfinite, ends))
    assert ends[0] < 0.9 * ends[1]
    assert list(info["final"]["loss"].values()) == pytest.approx([ends[0]] * 3)
    assert end_points(folder).sort_values("replica")["loss"].dropna().tolist() == ends[:1]


def interrupted(folder):
    assert execute(DUFM, folder) == 0
    RunFolder(folder).update(status="running")  # as a kill leaves it
    return folder / "checkpoints"


def test_the_time_before_a_kill_counts(tmp_path, monkeypatch):
    """Between two measured steps a minute passes; the process is killed at the third, and the end adds up all of it."""
    minutes = iter(range(1000))
    real = session.RunSession._record
    clock = SimpleNamespace(monotonic=lambda: now[0])
    now = [0.0]

    def slow(self, *args):
        now[0] = 60.0 * next(minutes)
        real(self, *args)
        if killed and len(self.digests) == 3:
            raise SystemExit

    def vanishes(trained, log, *args):  # as a kill leaves it: nothing is written of the end
        logging.getLogger().removeHandler(log)
        log.close()
        return "interrupted", None

    monkeypatch.setattr(session, "time", clock)
    monkeypatch.setattr(session.RunSession, "_record", slow)
    killed = [True]
    with monkeypatch.context() as patch:
        patch.setattr(run_execute, "_close", vanishes)
        assert execute(DUFM, tmp_path / "run") == 1
    assert RunFolder(tmp_path / "run").info()["wall_seconds"] == 120.0
    assert RunFolder(tmp_path / "run").info()["status"] == "running"
    killed.clear()
    began = now[0]
    assert execute(DUFM, tmp_path / "run") == 0
    assert RunFolder(tmp_path / "run").info()["wall_seconds"] == 120.0 + now[0] - began > 120.0


def test_where_no_checkpoint_can_be_trusted_nothing_is_dropped(tmp_path, capsys):
    folder = interrupted(tmp_path / "run")
    for name in ("last.ckpt", "previous.ckpt"):
        saved = torch.load(folder / name, weights_only=True)
        saved["state_dict"] = {"network.other": torch.ones(2)}
        AtomicCheckpointIO().save_checkpoint(saved, folder / "last.ckpt")
    rows = steps_recorded(tmp_path / "run")
    named = f"{folder}/last.ckpt: is no checkpoint of this run's network; {folder}/previous.ckpt: is no checkpoint"
    capsys.readouterr()
    assert execute(DUFM, tmp_path / "run") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line
    assert f"delete {folder} to train from the start" in line
    assert steps_recorded(tmp_path / "run") == rows
    info = RunFolder(tmp_path / "run").info()
    assert (info["status"], info["error"] in line) == ("failed", True)
    assert measure_command([str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line


def test_the_whole_one_of_two_is_taken_and_the_log_says_so(tmp_path):
    path = interrupted(tmp_path / "run") / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-50])
    assert execute(DUFM, tmp_path / "run") == 0
    said = (tmp_path / "run" / "ncbench.log").read_text()
    assert "last.ckpt: is damaged (its checksum is another); training goes on from previous.ckpt, step 16" in said


def test_every_job_of_one_process_says_in_its_own_log_why_a_measure_is_nan(tmp_path, monkeypatch):
    """Also where another job of the process failed for the same reason, or this one for two."""
    from ncbench.measure import measures

    def fails(reason):
        def tcv(moments):
            raise ValueError(reason)

        return lambda: monkeypatch.setitem(measures.OF_MOMENTS, "tcv", tcv)

    for name, plant in (("first", fails("planted")), ("second", fails("planted")), ("third", fails("another reason"))):
        plant()
        assert execute(DUFM, tmp_path / name) == 0
        logged = (tmp_path / name / "ncbench.log").read_text().splitlines()
        reason = "another reason" if name == "third" else "planted"
        said = [line for line in logged if f"the measure tcv failed and is NaN: {reason} (layer features post)" in line]
        assert len(said) == 1, name  # at six measured steps


def test_the_log_of_a_full_disk_leaves_the_room_for_the_end(tmp_path, monkeypatch, capsys):
    def write(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "run" / "measures" / "part"))

    monkeypatch.setattr(session.RecordWriter, "write", write)
    assert execute(DUFM, tmp_path / "run") == 1
    error = f"{tmp_path}/run/measures/part: No space left on device"
    info = RunFolder(tmp_path / "run").info()
    assert (info["status"], info["error"]) == ("failed", error)
    (line,) = (tmp_path / "run" / "ncbench.log").read_text().splitlines()
    assert line.endswith(f"the run failed: {error}")
    assert "Traceback" not in capsys.readouterr().err


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("first", ["RuntimeError: planted", None])
def test_a_full_disk_hides_nothing(first, tmp_path, monkeypatch, capsys):
    real = session.RunSession.fit

    def fit(self):
        real(self)
        monkeypatch.setattr(RunFolder, "update", full)
        monkeypatch.setattr(run_execute._Log, "flush", full)
        if first:
            raise RuntimeError("planted")

    monkeypatch.setattr(session.RunSession, "fit", fit)
    assert execute(DUFM, tmp_path / "run") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"ncbench: failed: {first}; and " if first else "ncbench: failed: ")
    assert "run.json could not be written (No space left on device)" in line
    monkeypatch.undo()
    assert execute(DUFM, tmp_path / "run") == 0


def test_a_disk_that_is_full_at_the_start_is_one_line(tmp_path, monkeypatch, capsys):
    real = RunFolder.update

    def update(self, **values):  # what is larger than a bit has no room
        full() if "config_hash" in values else real(self, **values)

    monkeypatch.setattr(RunFolder, "update", update)
    assert execute(DUFM, tmp_path / "run") == 1
    assert capsys.readouterr().err == "ncbench: failed: No space left on device\n"
    assert not (tmp_path / "run").exists()
