"""Every sample once: what a pass sees is counted, whatever draws the samples."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from ncbench.measure import coverage, measure_network
from ncbench.measure.coverage import Coverage, ends_for_good

K, N = 2, 43
DATA = TensorDataset(torch.randn(N, 3, generator=torch.Generator().manual_seed(0)), torch.arange(N) % K)


def measured(loader, **options):
    net = nn.Sequential(nn.Linear(3, K))
    return measure_network(net, loader, layers=["0"], num_classes=K, **options)


class Repeating:
    """Repeated augmentation: every index twice, in batches."""

    def __iter__(self):
        return iter([[i, i] for i in range(N)])

    def __len__(self):
        return N


class Endless:
    """As the samplers of training loops that count steps and no epochs."""

    def __iter__(self):
        return itertools.cycle(range(N))


class Stream(IterableDataset):
    def __init__(self, samples, length=None):
        self.samples, self.length = samples, length

    def __iter__(self):
        return iter(self.samples)

    def __len__(self):
        if self.length is None:
            raise TypeError
        return self.length


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (DataLoader(DATA, 8, sampler=WeightedRandomSampler([1.0] * N, N)), "WeightedRandomSampler drew"),
        (
            DataLoader(DATA, 8, sampler=RandomSampler(DATA, num_samples=2 * N)),
            r"RandomSampler drew \d+ of its first 48 samples again",
        ),
        (DataLoader(DATA, batch_sampler=Repeating()), "Repeating drew 22 of its first 44 samples again"),
        (DataLoader(DATA, 8, sampler=Endless()), "Endless drew 5 of its first 48 samples again"),
        (DataLoader(DATA, 8, sampler=[*range(N - 1), 0]), "list drew 1 of its first 43 samples again"),
        (
            DataLoader(DATA, batch_sampler=BatchSampler(SequentialSampler(DATA), 8, drop_last=True)),
            "the loader gave 40 samples of a dataset of 43",
        ),
        (
            DataLoader(DATA, batch_sampler=BatchSampler(SubsetRandomSampler(range(20)), 8, drop_last=True)),
            "drop_last left out 4 of the 20 samples of SubsetRandomSampler",
        ),
        (DataLoader(Stream(list(DATA), N - 3), 8), "the loader gave 43 samples of a dataset of 40"),
    ],
)
@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
def test_samples_seen_twice_or_left_out_are_refused(loader, message):
    with pytest.raises(ValueError, match=f"every sample must be measured exactly once, but {message}|{message}"):
        measured(loader)


@pytest.mark.parametrize(
    ("loader", "seen"),
    [
        (DataLoader(DATA, 8, sampler=SubsetRandomSampler(range(20))), 20),
        (DataLoader(DATA, 8, sampler=RandomSampler(DATA, num_samples=30)), 30),
        (DataLoader(DATA, None, sampler=BatchSampler(SequentialSampler(range(16)), 8, False)), None),
        (DataLoader(Stream(list(DATA), N + 3), 8), 43),
    ],
)
def test_a_subset_is_measured_and_said(loader, seen, caplog):
    found = measured(loader)
    assert len(found)
    if seen is not None:
        size = len(loader.dataset)
        assert caplog.text.count(f"the loader gives {seen} of the {size} samples of its dataset") == 1


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(DATA, 8, shuffle=True),
        DataLoader(DATA, 8, sampler=list(reversed(range(N)))),
        DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 8, drop_last=False)),
        DataLoader(DATA, batch_sampler=[iter(range(20)), iter(range(20, N))]),
        DataLoader(Subset(DATA, range(N)), 8),
        DataLoader(Stream(list(DATA)), 8),
    ],
)
def test_every_sample_in_any_order_is_measured_without_a_word(loader, caplog):
    tcv = [
        measure_network(nn.Sequential(nn.Identity()), data, layers=["0"], num_classes=K)
        .set_index("measure")
        .value["tcv"]
        for data in (loader, [DATA.tensors])
    ]
    assert tcv[0] == pytest.approx(tcv[1], rel=1e-12)
    assert caplog.text == ""


def test_another_pass_has_to_give_the_same_samples():
    class Cursor:
        """Begins where the last pass ended."""

        def __init__(self):
            self.left = iter([(DATA.tensors[0][:8], DATA.tensors[1][:8])])

        def __iter__(self):
            return self.left

    with pytest.raises(ValueError, match=r"it gave 8 and then 0 \(4 and then 0 of class 0\)"):
        measured(Cursor(), measures=["nc1"])


def test_the_users_own_loader_and_sampler_are_left_as_they_are():
    sampler = SubsetRandomSampler(range(N))
    loader = DataLoader(DATA, 8, sampler=sampler)
    inner = loader.batch_sampler
    shard = Coverage(loader)
    assert shard.watched is not loader
    list(shard.watched)
    assert loader.batch_sampler is inner
    assert loader.sampler is sampler
    assert shard.complaint(N) is None


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        ((b for b in ()), True),
        (map(str, ()), True),
        (itertools.chain(), True),
        ([], False),
        (DataLoader(DATA), False),
    ],
)
def test_what_certainly_ends_for_good(loader, expected):
    assert ends_for_good(loader) is expected


def test_a_planted_bug_that_trusts_unknown_samplers_is_seen(mutant):
    bug = mutant(coverage, "if is_indexed(loader) and samples_expected(loader) is None:", "if False:")
    found = bug.Coverage(DataLoader(DATA, 8, sampler=[0] * N))
    list(found.watched)
    assert found.complaint(N) is None  # which the refusals above would not be
