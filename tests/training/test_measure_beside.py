"""Measuring in a thread beside the training: the same records, in order, and none lost by an error or a kill."""

import json
import math
import threading

import pandas as pd
import pytest

from ncbench.records.folder import RunFolder
from ncbench.records.load import load_grams, load_means, load_measures, load_spectra
from ncbench.records.storage import recorded_steps
from ncbench.records.writer import RecordWriter
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs
from ncbench.training import beside
from ncbench.training.beside import Beside
from ncbench.training.checkpoints import AtomicCheckpointIO
from ncbench.training.full_batch import FullBatchModule
from ncbench.training.measure_beside import COPIES, MeasureBeside
from ncbench.training.saving import SaveLast
from tests.helpers.ensemble_runs import checkpoint

BASE = ["dataset=labels", "dataset.classes=3", "dataset.per_class=2", "model=dufm", "model.depth=2", "model.width=4"]
BASE += ["objective=dufm", "objective.weight_decay=0.02", "objective.feature_decay=0.01", "optimizer=heavy_ball"]
BASE += ["schedule=full_batch", "schedule.steps=60", "trainer.threads=1", "trainer.progress=false", "measure.points=9"]
BASE += ["+replicate.seed=3", "measure.gram_every=2"]
LOADERS = (load_measures, load_spectra, load_grams, load_means)


def execute(folder, *overrides):
    (composed,) = compose_jobs([*BASE, *overrides], multirun=False)
    return run_execute.execute(composed.config, folder, command="test")


def same_records(one, other):
    for load in LOADERS:
        tables = [load(folder).drop(columns="run") for folder in (one, other)]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    infos = [RunFolder(folder).info() for folder in (one, other)]
    for name in ("digests", "replica_digests", "learning_rates", "final", "status", "geometry"):
        assert json.dumps(infos[0].get(name)) == json.dumps(infos[1].get(name)), name


@pytest.fixture
def writers(monkeypatch):
    """The step and the thread of every measurement that is written."""
    seen = []
    real = RecordWriter.write

    def write(self, step, *args):
        seen.append((step, threading.current_thread().name))
        real(self, step, *args)

    monkeypatch.setattr(RecordWriter, "write", write)
    return seen


def test_pieces_are_done_in_order_and_so_many_at_a_time():
    beside, gate, waiting, done = Beside(2), threading.Event(), threading.Semaphore(0), []
    given = [0]

    def piece(number):
        gate.wait()
        done.append(number)

    def give():
        for number in range(6):
            given[0] += 1
            beside.start(lambda number=number: piece(number))
            waiting.release()

    giver = threading.Thread(target=give)
    giver.start()
    assert waiting.acquire(timeout=60)
    assert waiting.acquire(timeout=60)
    giver.join(0.05)  # the third is not taken while two are unfinished
    assert (giver.is_alive(), given[0], waiting.acquire(blocking=False), done) == (True, 3, False, [])
    gate.set()
    giver.join(60)
    beside.close()
    assert done == list(range(6))


def test_after_an_error_nothing_is_done_and_the_next_call_raises_it():
    beside, gate, done = Beside(3), threading.Event(), []

    def fails():
        gate.wait()
        raise OSError("planted")

    beside.start(lambda: done.append(0))
    beside.start(fails)
    beside.start(lambda: done.append(2))
    gate.set()
    with pytest.raises(OSError, match="planted"):
        beside.wait_until(0)
    beside.start(lambda: done.append(3))
    beside.close()
    assert done == [0]


def test_a_wait_that_a_signal_breaks_off_loses_no_error_of_a_piece(monkeypatch):
    gate, running = threading.Event(), Beside(2)

    def fails():
        gate.wait(60)
        raise OSError("planted")

    def broken_off(pieces):
        monkeypatch.undo()
        gate.set()
        raise KeyboardInterrupt

    running.start(fails)
    monkeypatch.setattr(beside, "wait", broken_off)
    with pytest.raises(KeyboardInterrupt):
        running.wait_until(0)
    with pytest.raises(OSError, match="planted"):
        running.close()
    running.close()


@pytest.mark.parametrize(("engine", "loss"), [("torch", "mse"), ("lanes", "ce")])
def test_the_records_are_those_of_measuring_in_between(engine, loss, tmp_path, writers, monkeypatch):
    overrides = [f"trainer.engine={engine}", f"objective.loss={loss}", "trainer.threads=2", "measure.hessian=true"]
    assert execute(tmp_path / "beside", *overrides) == 0
    beside = writers.copy()
    writers.clear()
    monkeypatch.setattr(FullBatchModule, "is_trained_apart", lambda self: False)
    assert execute(tmp_path / "between", *overrides) == 0
    steps = [step for step, _ in writers]
    assert steps == sorted(steps)
    assert len(steps) > 5
    assert {name for _, name in writers} == {"MainThread"}
    assert [step for step, _ in beside] == steps
    assert [name.startswith("beside") for _, name in beside] == [step > 0 for step in steps]
    same_records(tmp_path / "beside", tmp_path / "between")


@pytest.mark.parametrize("other", ["optimizer=adam", "trainer.precision=64", "optimizer=lbfgs"])
def test_where_training_would_notice_it_is_measured_in_between(other, tmp_path, writers):
    """Threads of torch, its default dtype and its random generators are those of the whole process."""
    assert execute(tmp_path / "run", "schedule.steps=5", "measure.points=3", other) == 0
    assert {name for _, name in writers} == {"MainThread"}


def test_a_record_that_cannot_be_written_ends_the_run_with_no_gap_behind_it(tmp_path, monkeypatch, capsys):
    real = RecordWriter.write
    assert execute(tmp_path / "whole") == 0
    steps = recorded_steps(tmp_path / "whole")
    with monkeypatch.context() as patch:

        def write(self, step, *args):
            if step == steps[3]:
                raise OSError(28, "No space left on device")
            real(self, step, *args)

        patch.setattr(RecordWriter, "write", write)
        capsys.readouterr()
        assert execute(tmp_path / "run") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ncbench: failed: No space left on device; log in ")
    assert recorded_steps(tmp_path / "run") == steps[:3]
    assert execute(tmp_path / "run") == 0
    same_records(tmp_path / "run", tmp_path / "whole")


def test_a_measurement_that_fails_is_left_out(tmp_path, monkeypatch, caplog):
    real, done = MeasureBeside._measure, []

    def measure(self, trainer, network, **changed):
        done.append(network)
        if len(done) == 4:
            raise RuntimeError("planted")
        return real(self, trainer, network, **changed)

    monkeypatch.setattr(MeasureBeside, "_measure", measure)
    assert execute(tmp_path / "run") == 0
    assert "the measurement after epoch 3 failed and is left out: planted" in caplog.text
    assert len(recorded_steps(tmp_path / "run")) == len(set(recorded_steps(tmp_path / "run"))) > 5


def test_a_checkpoint_waits_for_the_records_before_it(tmp_path, monkeypatch):
    """Though every measurement takes longer than the block that is trained meanwhile."""
    folder, never, at_save = tmp_path / "run", threading.Event(), []
    measure, save = MeasureBeside._measure, AtomicCheckpointIO.save_checkpoint

    def measure_slowly(*args, **changed):
        never.wait(0.02)
        return measure(*args, **changed)

    def look_and_save(self, checkpoint, *args, **options):
        at_save.append((checkpoint["ncbench_step"], recorded_steps(folder)))
        save(self, checkpoint, *args, **options)

    monkeypatch.setattr(MeasureBeside, "_measure", measure_slowly)
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", look_and_save)
    assert execute(folder, "trainer.checkpoint_seconds=0") == 0
    steps = recorded_steps(folder)
    assert [step for step, _ in at_save] == steps[1:]
    assert all(there == [x for x in steps if x <= step] for step, there in at_save)


def test_a_kill_with_copies_that_wait_loses_no_row_for_good(tmp_path, monkeypatch):
    """Killed while one measurement is under way and another waits; the run that is resumed has every row."""
    assert execute(tmp_path / "whole") == 0
    steps = recorded_steps(tmp_path / "whole")
    folder, gate, dead = tmp_path / "run", threading.Event(), [False]
    record, block = MeasureBeside._measure_copy, FullBatchModule.train_block

    def measure_copy(self, trainer, copy, finished, step, epoch):
        if step > steps[3]:
            gate.wait(60)
        if not dead[0]:
            record(self, trainer, copy, finished, step, epoch)

    def train_block(self, done, end):
        if end == steps[4]:  # the last checkpoint is that of the step before
            (save_last,) = [callback for callback in self.trainer.callbacks if isinstance(callback, SaveLast)]
            save_last.seconds = save_last.FIRST = math.inf
        if end == steps[4 + COPIES]:  # one is held at the gate, the others wait behind it
            assert recorded_steps(folder) == steps[:4]
            dead[0] = True
            gate.set()
            raise SystemExit
        block(self, done, end)

    with monkeypatch.context() as patch:
        patch.setattr(MeasureBeside, "_measure_copy", measure_copy)
        patch.setattr(FullBatchModule, "train_block", train_block)
        assert execute(folder, "trainer.checkpoint_seconds=0") == 1
    assert (recorded_steps(folder), checkpoint(folder)["ncbench_step"]) == (steps[:4], steps[3])
    assert execute(folder, "trainer.checkpoint_seconds=0") == 0
    same_records(folder, tmp_path / "whole")
