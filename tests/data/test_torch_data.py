"""Any map-style Dataset as data of a run: order, labels, measuring, random transforms, and what is refused."""

# ruff: noqa: NPY002 - numpy's global generator is what transforms draw from
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from ncbench.data import TorchData, epoch_order, map_loader
from ncbench.data.map_loader import MapLoader
from ncbench.data.tensors import TensorLoader, TensorSet

LABELS = torch.tensor([7, 3, 3, 7, 5, 3, 5, 7, 3, 5])  # 4 of label 3, 3 of 5, 3 of 7
NUMBERED = torch.arange(10.0)[:, None] + torch.zeros(10, 2)  # sample i is (i, i)
BY_CLASS = [1, 2, 5, 8, 4, 6, 9, 0, 3, 7]
CLASSES = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


class Numbered:
    """Sample i is (i, i) plus `noise` times a number of each global generator."""

    def __init__(self, noise=0.0, own=False, n=10):
        self.noise, self.generator = noise, np.random.default_rng(0) if own else None
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i >= self.n:
            raise IndexError(i)
        x = NUMBERED[i].clone()
        if self.generator is not None:
            x += self.generator.random()
        if self.noise:
            x += self.noise * (random.random() + np.random.rand() + float(torch.rand(())))
        return x, int(LABELS[i])


def ready(**options):
    data = TorchData(**options)
    data.prepare_data()
    data.setup()
    return data


def passed(loader):
    """All batches of a pass as two lists: the number of each sample, its class."""
    xs, ys = zip(*loader, strict=True)
    return torch.cat(xs)[:, 0].tolist(), torch.cat(ys).tolist()


IN_MEMORY, READ = TensorDataset(NUMBERED, LABELS), Numbered()


@pytest.mark.parametrize("dataset", [IN_MEMORY, READ], ids=["memory", "loader"])
def test_classes_order_and_measuring(dataset):
    data = ready(train=dataset, batch_size=4)
    assert (data.num_classes, data.input_shape, len(data.train), data.train.counts) == (3, (2,), 10, [4, 3, 3])
    assert data.per_class == 10 / 3
    assert data.notices == ["the labels of train are numbered anew, 0 to 2: 3, 5, 7"]
    assert passed(data.measure_loader()) == (BY_CLASS, CLASSES)
    assert [len(y) for _, y in data.measure_loader(batch_size=3)] == [3, 3, 3, 1]
    assert passed(data.measure_loader(per_class=2)) == ([1, 2, 4, 6, 0, 3], [0, 0, 1, 1, 2, 2])
    loader = data.train_dataloader()
    assert isinstance(loader, TensorLoader if dataset is IN_MEMORY else MapLoader)
    for epoch in range(3):
        order = epoch_order(0, epoch, 10).tolist()
        assert passed(loader) == ([BY_CLASS[i] for i in order], [CLASSES[i] for i in order])
    assert len(loader) == 3
    data.order_seed = 5
    assert passed(data.train_dataloader())[0] == [BY_CLASS[i] for i in epoch_order(5, 0, 10).tolist()]
    with pytest.raises(
        ValueError, match=r"^split=test has no sample, as dataset.test is empty; measure.splits=\[train\]"
    ):
        data.measure_loader("test")
    with pytest.raises(ValueError, match="split=val must be train or test"):
        data.measure_loader("val")


def test_what_is_held_in_memory():
    assert isinstance(ready(train=Subset(IN_MEMORY, [0, 1, 4])).train, TensorSet)
    assert not isinstance(ready(train=IN_MEMORY, memory=False).train, TensorSet)
    held = ready(train=READ, memory=True)
    assert isinstance(held.train, TensorSet)
    assert passed(held.measure_loader()) == (BY_CLASS, CLASSES)


class Spoilt(Numbered):
    """The samples at `places` have a value that is no number."""

    def __init__(self, places, value):
        super().__init__()
        self.places, self.value = places, value

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return (x.index_fill(0, torch.tensor([1]), self.value) if i in self.places else x), y


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused_where_they_are_read(value):
    said = r"^train\[4\]: its input must be finite, and 1 of 2 values are not"
    data = ready(train=Spoilt([4], value), batch_size=3)
    for loader in (data.measure_loader(), data.train_dataloader()):
        with pytest.raises(ValueError, match=said):
            list(loader)
    with pytest.raises(ValueError, match=said):
        ready(train=Spoilt([4], value), memory=True)
    with pytest.raises(ValueError, match=r"^test\[9\]: its input must be finite"):
        list(ready(train=READ, test=Spoilt([9], value)).measure_loader("test"))
    with pytest.raises(ValueError, match="must be finite"):
        ready(train=TensorDataset(torch.full((10, 2), value), LABELS))


def test_sizes_of_the_batches_of_a_pass():
    for batch_size, sizes in ((3, [1, 3]), (4, [2, 4]), (5, [5]), (None, [10]), (64, [10])):
        for memory in (True, False):
            loader = ready(train=READ, batch_size=batch_size, memory=memory).train_dataloader()
            assert loader.sizes == sizes == sorted({len(y) for _, y in loader})


def test_a_batch_is_no_view_of_the_set():
    data = ready(train=TensorDataset(NUMBERED.clone(), LABELS))
    for loader in (data.measure_loader(), data.train_dataloader()):
        for x, _ in loader:
            x.zero_()
    assert passed(data.measure_loader())[0] == BY_CLASS


def test_images_come_with_channels_last():
    for memory in (True, False):
        data = ready(train=TensorDataset(torch.randn(10, 3, 4, 4), LABELS), memory=memory)
        for loader in (data.train_dataloader(), data.measure_loader()):
            assert next(iter(loader))[0].is_contiguous(memory_format=torch.channels_last)


def test_several_processes_read_the_same():
    data = ready(train=Numbered(noise=0.1), batch_size=4)
    alone = [passed(data.train_dataloader()), passed(data.measure_loader())]
    several = ready(train=Numbered(noise=0.1), batch_size=4, num_workers=2)
    loader = several.train_dataloader()
    assert [passed(loader), passed(several.measure_loader())] == alone
    second = data.train_dataloader()
    passed(second)
    assert passed(loader) == passed(second)  # the second epoch, with the workers kept


def test_random_transforms_are_functions_of_seed_epoch_and_sample():
    data = ready(train=Numbered(noise=0.5), batch_size=3)
    assert data.notices[1] == (
        "train is random: where it is measured, every sample is read with one draw, the same each time; give "
        "dataset.evaluation the same samples without random transforms"
    )
    loader, wide = data.train_dataloader(), ready(train=Numbered(noise=0.5), batch_size=10).train_dataloader()
    first, state = passed(loader), torch.get_rng_state()
    second = passed(loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(first[0]) != sorted(second[0])  # another epoch, other draws
    assert [passed(wide), passed(wide)] == [first, second]  # whatever the batches
    assert passed(data.measure_loader()) == passed(data.measure_loader())


def moved(loader):
    """What each pass of three adds to the samples, by their numbers."""
    return [{int(x): round(x - int(x), 5) for x in passed(loader)[0]} for _ in range(3)]


def test_draws_that_forget_the_epoch_or_the_sample_are_seen(mutant):
    data = ready(train=Numbered(noise=0.1))
    passes = moved(data.train_dataloader())
    assert len({x for each in passes for x in each.values()}) == 30
    forgetful = mutant(map_loader, "epoch if self.shuffle else NO_EPOCH", "NO_EPOCH")
    assert len({x for each in moved(forgetful.MapLoader(data.train, 3)) for x in each.values()}) == 10
    alike = mutant(map_loader, "self.data.positions[places]", "places * 0")
    assert len({x for each in moved(alike.MapLoader(data.train, 3)) for x in each.values()}) == 3


def test_evaluation_takes_the_place_of_random_samples():
    data = ready(train=Numbered(noise=0.5), evaluation=Numbered())
    assert len(data.notices) == 1
    assert passed(data.measure_loader())[0] == BY_CLASS
    assert passed(data.train_dataloader())[0] != [BY_CLASS[i] for i in epoch_order(0, 0, 10).tolist()]
    with pytest.raises(ValueError, match=r"^evaluation: must hold the samples of train in the same order"):
        ready(train=READ, evaluation=Subset(READ, [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]))


def test_generators_of_its_own_are_said():
    data = ready(train=Numbered(own=True))
    assert data.notices[1].startswith("train draws from generators of its own (two readings of a sample differ)")
    for noise, own in ((0.5, False), (0.0, True)):
        with pytest.raises(ValueError, match=r"^memory=True: train is random, and what is held in memory stays"):
            ready(train=Numbered(noise=noise, own=own), memory=True)


def test_classes_per_class_imbalance_and_noise():
    data = ready(train=READ, classes=[2, 0], per_class=3)
    assert data.clean_labels.tolist() == [0, 0, 0, 1, 1, 1]
    numbers, labels = passed(data.measure_loader())
    assert labels == [0, 0, 0, 1, 1, 1]
    assert numbers[:3] == [0, 3, 7]  # label 7
    assert set(numbers[3:]) < {1, 2, 5, 8}  # three of label 3
    few = ready(train=READ, per_class=3, imbalance=3, minority=1 / 3)
    assert few.train.counts == [3, 3, 1]
    for dataset in (IN_MEMORY, READ):
        noisy = ready(train=dataset, test=dataset, label_noise=0.3)
        own = [LABELS[int(i)].item() for i in passed(noisy.measure_loader())[0]]
        assert [[3, 5, 7][c] for c in noisy.clean_labels] == own
        assert (noisy.clean_labels != noisy.train.labels).sum() == 3  # one of 4, one of 3, one of 3
        assert passed(noisy.measure_loader("test")) == (BY_CLASS, CLASSES)


def test_the_test_split_has_the_classes_of_training():
    few = TensorDataset(NUMBERED[:3], torch.tensor([5, 3, 5]))
    data = ready(train=READ, test=few)
    assert passed(data.measure_loader("test")) == ([1, 0, 2], [0, 1, 1])
    assert passed(ready(train=READ, test=few, classes=[1, 2]).measure_loader("test")) == ([0, 2], [0, 0])
    with pytest.raises(ValueError, match=r"^test\[1\]: has the label 4, which no training sample has"):
        ready(train=READ, test=TensorDataset(NUMBERED[:2], torch.tensor([3, 4])))
    with pytest.raises(ValueError, match=r"^test: has no sample of the chosen classes"):
        ready(train=READ, test=TensorDataset(NUMBERED[:2], torch.tensor([3, 3])), classes=[1, 2])
    with pytest.raises(ValueError, match=r"^test: has inputs of shape \(3,\), and train of shape \(2,\)"):
        ready(train=READ, test=TensorDataset(torch.zeros(2, 3), torch.tensor([3, 5])))
    tokens = TensorDataset(NUMBERED.long(), LABELS)
    with pytest.raises(ValueError, match=r"^test: has inputs of floats \(torch.float32\), and train of whole numbers"):
        ready(train=tokens, test=READ)
    with pytest.raises(
        ValueError, match=r"^evaluation: has inputs of whole numbers \(torch.int64\), and train of floats"
    ):
        ready(train=READ, evaluation=tokens)
    assert ready(train=READ, test=TensorDataset(NUMBERED.double(), LABELS)).test.dtype == torch.float64


def test_points():
    points = ready(train=READ).points()
    assert points.inputs.dtype == torch.float64
    assert points.inputs[0, :, 1].tolist() == BY_CLASS
    assert points.labels.tolist() == CLASSES


class Changing(Numbered):
    """A label that depends on how often it was asked for."""

    asked = 0

    def __getitem__(self, i):
        Changing.asked += 1
        return NUMBERED[i], Changing.asked


class Uneven(Numbered):
    def __getitem__(self, i):
        return torch.zeros(2 + (i == 8)), int(LABELS[i])


class Broken(Numbered):
    def __getitem__(self, i):
        if i == 4:
            raise KeyError("a\nb")
        return super().__getitem__(i)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": Changing()}, r"^train\[\d\]: has the label \d+, and had \d+ when the labels were read"),
        ({"train": Broken()}, r"^train\[4\]: cannot be read \(KeyError: 'a\\nb'\)"),
        ({"train": READ, "per_class": 4}, r"^per_class=4 must be at most 3, the number of images of class 1"),
        ({"train": READ, "batch_size": 0}, r"^batch_size=0 must be at least 1"),
        ({"train": READ, "num_workers": -1}, r"^num_workers=-1 must be at least 0"),
        ({"train": READ, "classes": [0, 3]}, r"^classes=\[0, 3\] must be at least 2 different classes out of 0..2"),
        ({"train": READ, "num_classes": 8}, r"^train: num_classes=8 needs a sample of every class, and 0 has none"),
        ({"train": TensorDataset(NUMBERED * float("nan"), LABELS)}, r"^inputs must be finite, and 10 of 10 samples"),
        ({"train": None}, r"^train: NoneType must be a map-style Dataset"),
    ],
)
def test_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        ready(**options)
    assert "\n" not in str(error.value)


def test_samples_of_unequal_shape_are_refused_where_they_are_read():
    data = ready(train=Uneven())
    with pytest.raises(
        ValueError, match=r"^train\[8\]: has the shape \(3,\), and the first sample has \(2,\); a transform"
    ):
        list(data.measure_loader())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_are_held_on_the_gpu():
    data = TorchData(train=IN_MEMORY, batch_size=4)
    data.setup(device="cuda")
    loader = data.train_dataloader()
    assert all(x.is_cuda and y.is_cuda for x, y in data.measure_loader())
    assert passed(loader)[0] == [BY_CLASS[i] for i in epoch_order(0, 0, 10).tolist()]
