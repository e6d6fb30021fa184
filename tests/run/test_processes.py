"""trainer.devices > 1: processes that share every batch, measure together, and end together (gloo, on CPUs)."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ncbench import load_run, train
from ncbench.config.cores import cores_of_network, threads_of
from ncbench.config.identity import differences
from ncbench.data import EpochLoader, ImageSet
from ncbench.measure import measure_network
from ncbench.records.folder import RunFolder
from ncbench.report import load_measures
from ncbench.run.compose import compose_jobs

# 130 samples in batches of 33, shared 17 to 16; the last one of 31, 16 to 15.
MLP = ["+experiment=digits_mlp", "dataset.per_class=13", "dataset.batch_size=33", "dataset.augment=true"]
MLP += ["trainer.max_epochs=3", "measure.points=3", "trainer.precision=64", "trainer.accelerator=cpu"]
MLP += ["trainer.progress=false", "trainer.checkpoint_seconds=0"]
RESNET = ["+experiment=cifar_resnet20_quick", *MLP[1:]]
DDP = ["trainer.devices=2", "trainer.strategy=ddp"]


def run(folder, *overrides):
    assert train.main([*overrides, f"hydra.run.dir={folder}"]) == 0
    return folder


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_measures_are_those_of_one_process(folder):
    module, data, _ = load_run(folder)
    layers = ["features", "head.1", "head.2", "head.3", "head.4"]
    loader = data.measure_loader("train", 250)
    alone = measure_network(module.network, loader, layers=layers, num_classes=10)
    alone = alone[~alone.measure.isin(["singular_value"])].set_index(["layer", "stage", "measure"]).value
    recorded = load_measures(folder)
    last = recorded[(recorded.step == recorded.step.max()) & recorded.split.isin(["train", ""])]
    together = last.set_index(["layer", "stage", "measure"]).value
    shared = [key for key in alone.index if key in together.index]
    assert len(shared) > 40
    for key in shared:
        assert together[key] == pytest.approx(alone[key], rel=1e-12, nan_ok=True), key


def test_two_processes_train_and_measure_as_one(tmp_path, capsys):
    one, two = run(tmp_path / "one", *MLP), run(tmp_path / "two", *MLP, *DDP)
    expected, found = weights(one), weights(two)
    for name, W in expected.items():
        assert torch.linalg.norm(found[name] - W) <= 1e-12 * torch.linalg.norm(W), name
    assert_measures_are_those_of_one_process(two)
    rows = [load_measures(folder).drop(columns="run") for folder in (one, two)]
    assert len(rows[0]) == len(rows[1])
    assert not rows[1].duplicated([c for c in rows[1].columns if c != "value"]).any()
    assert list(RunFolder(two).info()["digests"]) == list(RunFolder(one).info()["digests"])
    assert not list(two.glob(".process-*"))
    assert not torch.distributed.is_initialized()
    assert "LOCAL_RANK" not in os.environ
    assert capsys.readouterr().out.count("done in") == 2


@pytest.mark.slow
def test_batch_normalisation_is_measured_as_the_checkpoint_has_it(tmp_path):
    run(tmp_path / "two", *RESNET, *DDP)
    said = (tmp_path / "two" / "ncbench.log").read_text()
    assert "trainer.devices=2: batch normalisation sees each process's share of a batch only" in said
    assert_measures_are_those_of_one_process(tmp_path / "two")


@pytest.fixture
def start():
    """Starts the command in a process of its own, and returns it once it has saved two checkpoints."""
    started = []

    def begin(folder, *overrides):
        command = [sys.executable, "-m", "ncbench.train", *MLP, *DDP, *overrides, f"hydra.run.dir={folder}"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        until = time.monotonic() + 200
        while not (folder / "checkpoints" / "previous.ckpt").exists():
            assert started[-1].poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def others(folder):
    """The process ids of the other processes of a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if "ncbench.run.other_process" in words and str(folder) in words:
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphan_is_left_and_the_run_goes_on(number, start, tmp_path):
    long = "trainer.max_epochs=60"
    whole = run(tmp_path / "whole", *MLP, *DDP, long)
    process = start(tmp_path / "run", long)
    assert len(others(tmp_path / "run")) == 1
    process.send_signal(number)
    assert process.wait(30) != 0
    until = time.monotonic() + 10
    while others(tmp_path / "run"):
        assert time.monotonic() < until, "an orphan"
        time.sleep(0.2)
    if number != signal.SIGKILL:
        assert RunFolder(tmp_path / "run").info()["status"] == "interrupted"
    run(tmp_path / "run", *MLP, *DDP, long)
    assert RunFolder(tmp_path / "run").info()["digests"] == RunFolder(whole).info()["digests"]


@pytest.mark.slow
def test_where_another_process_dies_the_run_fails(start, tmp_path):
    process = start(tmp_path / "run", "trainer.max_epochs=5000")
    (other,) = others(tmp_path / "run")
    os.kill(other, signal.SIGKILL)
    assert process.wait(60) == 1
    assert RunFolder(tmp_path / "run").info()["status"] == "failed"
    assert "process 1 ended with status -9" in (tmp_path / "run" / "ncbench.log").read_text()


@pytest.mark.slow
def test_all_processes_stop_where_one_diverges(tmp_path):
    assert train.main([*MLP, *DDP, "optimizer.lr=1e30", f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    info = RunFolder(tmp_path / "run").info()
    assert info["status"] == "failed"
    assert info["error"].startswith("diverged: ")


def test_every_row_of_a_batch_is_in_one_process_and_shares_weigh_them():
    data = ImageSet(torch.arange(11, dtype=torch.uint8).reshape(11, 1, 1, 1), torch.zeros(11, dtype=torch.int64), 1)
    stats = {"mean": [0.0], "std": [1 / 255], "seed": 3}
    whole = [x.flatten() for x, _ in EpochLoader(data, 4, **stats)]
    parts = [EpochLoader(data, 4, process=(rank, 3), **stats) for rank in range(3)]
    shared = [[x.flatten() for x, _ in part] for part in parts]
    assert [len(x) for x in shared[0]] == [2, 2, 1]
    for batch, together in enumerate(whole):
        for rank in range(3):
            assert shared[rank][batch].tolist() == together[rank::3].tolist()
        # The mean of the processes' weighted means is that of the batch.
        means = [part.share(batch) * x[batch].mean() for part, x in zip(parts, shared, strict=True)]
        assert sum(means) / 3 == pytest.approx(float(together.mean()), rel=1e-6)
    assert [part.share(0) for part in parts] == [1.5, 0.75, 0.75]
    with pytest.raises(ValueError, match="devices=4: each process needs a sample of every batch, and the smallest one"):
        EpochLoader(data, 4, process=(0, 4), **stats)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=0"], "trainer.devices=0: must be >= 1"),
        (["trainer.devices=auto"], "trainer.devices=auto: must be a whole number"),
        (["trainer.strategy=ddp_spawn"], "trainer.strategy=ddp_spawn: must be auto or ddp"),
        (["+experiment=dufm_k10", "trainer.devices=2"], "trainer.devices=2: full-batch problems train in one process"),
        (["dataset.batch_size=1", "trainer.devices=2"], "trainer.devices=2: a batch of dataset.batch_size=1 cannot be"),
        (["dataset.per_class=5", "dataset.batch_size=7", "trainer.devices=2"], "trainer.devices=2: each process needs"),
    ],
)
def test_refused_in_one_line(overrides, message, tmp_path, capsys):
    given = [*overrides, "trainer.accelerator=cpu", "trainer.progress=false"]
    assert train.main([*given, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


def test_processes_are_another_computation_and_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    small = ["+experiment=cifar_resnet20", "dataset.batch_size=128"]
    jobs = [compose_jobs([*small, *given], multirun=False)[0].config for given in ([], DDP)]
    assert differences(jobs[1])["trainer"] == {**differences(jobs[0])["trainer"], "devices": 2, "strategy": "ddp"}
    # 5.2e9 multiply-adds of a batch: 5 threads of one process, 2 of each of two.
    assert [cores_of_network(config) for config in jobs] == [5, 4]
    assert [threads_of(config, {}) for config in jobs] == [4, 2]
    assert threads_of(jobs[1], {"OMP_NUM_THREADS": "1"}) == 1
