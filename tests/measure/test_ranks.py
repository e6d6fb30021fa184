"""Two processes: every sample once, and the values of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, Subset, TensorDataset

import ncbench
from ncbench.measure import measure_network
from ncbench.measure.ranks import Ranks, Share

WORKER = Path(__file__).parent / "ranks_worker.py"
N = 101


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two workers, run side by side, found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, str(WORKER), str(folder / "store"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(ncbench.__file__).parents[1])}
    options = {"stderr": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen([*command, str(rank)], **options) for rank in (0, 1)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), errors
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_count_every_sample_once_and_agree_with_one(ranks):
    first, second = ranks
    assert first["values"] == second["values"]  # bit for bit the same on both ranks
    assert first["counts"] == second["counts"]
    assert set(first["values"]) >= {"sampler", "shuffled", "padded", "batches", "sharded", "reestimated", "callback"}
    for way, values in first["values"].items():
        assert first["counts"][way] == N, way
        reference = first["alone"]["reestimated" if way == "reestimated" else "plain"]
        assert values.keys() == reference.keys()
        for name, value in values.items():
            assert value == pytest.approx(reference[name], rel=1e-12, nan_ok=True), (way, name)
    for name, value in first["metric"].items():
        assert value == pytest.approx(second["metric"][name], rel=0)
        assert value == pytest.approx(first["metric_alone"][name], rel=1e-12), name


def test_wrong_divisions_are_refused_on_both_ranks(ranks):
    first, second = (of_rank["errors"] for of_rank in ranks)
    for errors in (first, second):
        assert "measured 102 samples of a dataset of 101" in errors["padded and sharded"]
        assert "the loader yields other batches on each rank" in errors["another order on each rank"]
    assert "labels must be one integer per sample" in first["one rank fails"]
    assert "rank 0: ValueError: labels must be one integer per sample" in second["one rank fails"]


DATA = TensorDataset(torch.randn(10, 3), torch.arange(10) % 2)


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (DataLoader(DATA, 4), 10),
        (DataLoader(DATA, 4, shuffle=True), 10),
        (DataLoader(DATA, 4, sampler=DistributedSampler(DATA, 3, 0)), 10),
        (DataLoader(DATA, 4, sampler=RandomSampler(DATA, num_samples=5)), None),
        (DataLoader(DATA, 4, sampler=[1, 2]), None),
        (DataLoader(Subset(DATA, [1, 2, 3]), 4), 3),
        ([(torch.randn(4, 3), torch.arange(4))], None),
    ],
)
def test_how_many_samples_are_expected(loader, expected):
    share = Share(loader, Ranks(distributed=False))
    assert share.expected == expected
    assert share.loader is loader


def test_a_loader_that_leaves_samples_out_is_refused():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with pytest.raises(ValueError, match="measured 8 samples of a dataset of 10: every sample must be seen exactly"):
        measure_network(net, DataLoader(DATA, 4, drop_last=True), layers=["0"], num_classes=2)
