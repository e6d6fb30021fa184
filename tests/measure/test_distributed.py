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
from ncbench.measure import distributed, measure_network
from ncbench.measure.distributed import ProcessGroup, Shard
from ncbench.measure.notices import Notices

WORKER = Path(__file__).parent / "processes_worker.py"
N = 101


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """What two workers, run side by side, found."""
    folder = tmp_path_factory.mktemp("workers")
    command = [sys.executable, str(WORKER), str(folder / "store"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(ncbench.__file__).parents[1])}
    options = {"stderr": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen([*command, str(rank)], **options) for rank in (0, 1)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), errors
    return [json.loads((folder / f"process{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_count_every_sample_once_and_agree_with_one(workers):
    first, second = workers
    assert first["values"] == second["values"]  # bit for bit the same in both processes
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


def test_wrong_divisions_are_refused_in_both_processes(workers):
    first, second = (worker["errors"] for worker in workers)
    for errors in (first, second):
        assert "the loader gave 102 samples of a dataset of 101" in errors["padded and sharded"]
        assert "the loader yields other batches in each process" in errors["another order in each process"]
        assert "list drew 1 of its first 102 samples again" in errors["a sample twice"]
        assert "list drew 51 of its first 102 samples again" in errors["a sample twice in one process"]
    assert "labels must be one integer per sample" in first["one process fails"]
    assert "process 0 failed with ValueError: labels must be one integer per sample" in second["one process fails"]


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
    shard = Shard(loader, ProcessGroup(distributed=False))
    assert shard.expected == expected
    watched = isinstance(loader, DataLoader) and expected is None  # its sampler is one that is not known
    assert (shard.loader is loader) is not watched


def test_a_loader_that_leaves_samples_out_is_refused():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with pytest.raises(
        ValueError, match="every sample must be measured exactly once, but the loader gave 8 samples of a dataset of 10"
    ):
        measure_network(net, DataLoader(DATA, 4, drop_last=True), layers=["0"], num_classes=2)


class Two:
    """One of two processes, as `Shard` sees them, without starting any; the other one finds the same."""

    size = 2

    def __init__(self, rank):
        self.rank = rank

    def gathered(self, value):
        return [value, value]


def divided(module, loader):
    """The labels that each of two processes measures."""
    shards = [module.Shard(loader, Two(rank)) for rank in (0, 1)]
    found = [[y for _, labels in s.loader if not s.skip(labels) for y in labels.tolist()] for s in shards]
    for shard in shards:
        shard.check(sum(map(len, found)), Notices())
    return found


NUMBERS = torch.arange(11)
NUMBERED = TensorDataset(torch.zeros(11, 1), NUMBERS)


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(NUMBERED, 2, shuffle=True, drop_last=True),
        DataLoader(NUMBERED, 3, sampler=DistributedSampler(NUMBERED, 2, 0)),
        [(torch.zeros(len(part), 1), part) for part in NUMBERS.split(2)],
        [(torch.zeros(11, 1), NUMBERS)],
    ],
)
def test_every_sample_is_in_one_process(loader):
    first, second = divided(distributed, loader)
    assert sorted(first + second) == NUMBERS.tolist()


def test_a_planted_bug_that_pads_is_seen(mutant):
    bug = mutant(
        distributed, "range(group.rank, size, group.size)", "[i % size for i in range(group.rank, size + 1, 2)]"
    )
    with pytest.raises(ValueError, match="the loader gave 12 samples of a dataset of 11"):
        divided(bug, DataLoader(NUMBERED, 2))
