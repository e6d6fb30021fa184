"""Signals that ask a run to stop: it saves, says so in its record and in one line, and goes on exactly."""

import os
import signal

import pytest
import torch

from ncbench import train
from ncbench.records.folder import RunFolder
from ncbench.run import compose, signals
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs
from ncbench.run.signals import STOPPING, Stopped, StopSignals
from ncbench.training import checkpoints
from ncbench.training.full_batch import FullBatchModule
from ncbench.training.saving import SaveLast

# In float64 it is measured in between, so that what is done at a record is done by the thread that trains.
DUFM = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=60", "measure.points=14", "trainer.precision=64"]
DUFM += ["trainer.progress=false", "trainer.checkpoint_seconds=1000"]


def execute(folder, overrides=DUFM):
    (composed,) = compose_jobs(overrides, multirun=False)
    return run_execute.execute(composed.config, folder, command="test", overrides=overrides)


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def as_in_the_foreground(monkeypatch):
    """A shell has its background commands ignore some of the signals, and who ignores one stays with that."""
    monkeypatch.setattr(signals, "PATIENCE", 600.0)  # a machine may be slow
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def saved_step(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["ncbench_step"]


def test_a_run_stopped_by_every_signal_in_turn_ends_as_the_one_that_was_left_alone(tmp_path, at_record, capsys):
    folder, before = tmp_path / "run", [signal.getsignal(number) for number in STOPPING]
    steps = []
    for number in STOPPING:
        at_record(1, lambda number=number: send(number))
        assert execute(folder) == 1
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", f"ncbench: interrupted; the same command continues: {folder}\n")
        info = RunFolder(folder).info()
        assert (info["status"], info["error"]) == ("interrupted", "stopped by a signal")
        steps.append(saved_step(folder))
        assert info["steps"] == steps[-1]
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert steps == sorted(set(steps))  # it got on between any two of them
    at_record(0, lambda: None)
    assert execute(folder) == execute(tmp_path / "whole") == 0
    assert RunFolder(folder).info()["digests"] == RunFolder(tmp_path / "whole").info()["digests"]


@pytest.mark.parametrize("numbers", [[signal.SIGINT] * 6, [signal.SIGTERM, signal.SIGHUP]])
def test_who_asks_twice_does_not_wait_for_a_checkpoint(numbers, tmp_path, at_record, monkeypatch, capsys):
    monkeypatch.setattr(SaveLast, "FIRST", 1e9)
    at_record(3, lambda: send(*numbers))
    assert execute(tmp_path / "run") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert RunFolder(tmp_path / "run").info()["status"] == "interrupted"
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_block_without_an_end_is_left_after_a_while(tmp_path, monkeypatch, capsys):
    def endless(self, done, end):
        send(signal.SIGTERM)
        while True:
            pass

    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    monkeypatch.setattr(FullBatchModule, "train_block", endless)
    assert execute(tmp_path / "run") == 1
    assert RunFolder(tmp_path / "run").info()["status"] == "interrupted"
    assert capsys.readouterr().err.count("\n") == 1


def test_at_a_safe_point_the_while_is_over():
    """Saving may take longer than training is given to come to one."""
    with StopSignals() as stop, stop.training():
        assert not stop.asked()
        send(signal.SIGTERM)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert stop.asked()
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
        assert stop.asked()


def test_a_second_signal_while_a_checkpoint_is_written_is_no_failure(tmp_path, at_record, monkeypatch, capsys):
    def broken_off(*_):
        try:
            send(signal.SIGTERM)
        except Stopped:
            raise RuntimeError("unexpected pos 64 vs 0") from None

    at_record(2, lambda: send(signal.SIGTERM))
    monkeypatch.setattr(checkpoints.torch, "save", broken_off)
    assert execute(tmp_path / "run") == 1
    assert capsys.readouterr().err == f"ncbench: interrupted; the same command continues: {tmp_path / 'run'}\n"
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_a_signal_right_after_the_first_record_of_the_state(tmp_path, monkeypatch, capsys):
    real = RunFolder.update

    def update(self, **values):
        real(self, **values)
        if values.get("status") == "running":
            send(signal.SIGINT)

    monkeypatch.setattr(RunFolder, "update", update)
    assert execute(tmp_path / "run") == 1
    assert RunFolder(tmp_path / "run").info()["status"] == "interrupted"
    assert capsys.readouterr().err.count("\n") == 1


def test_signals_at_the_end_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(run_execute, "summarise", lambda *_, **__: send(*STOPPING) or {})
    assert execute(tmp_path / "run") == 0
    assert RunFolder(tmp_path / "run").info()["status"] == "done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_while_a_command_is_composed_nothing_is_there_to_be_left(number, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compose, "compose_command", lambda *args, **more: send(number))
    assert train.main([*DUFM, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    assert capsys.readouterr() == ("", "ncbench: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with StopSignals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_before_there_is_a_state_the_folder_goes_again(tmp_path, monkeypatch):
    monkeypatch.setattr("ncbench.records.folder.write_text", lambda *_: send(signal.SIGTERM))  # its holder
    with pytest.raises(Stopped), StopSignals(), RunFolder(tmp_path / "a" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
