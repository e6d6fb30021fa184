"""What a sample may be: inputs, labels and forms that are taken, and the one line for each that is not."""

# ruff: noqa: NPY002 - numpy's global generator is what transforms draw from
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from ncbench.data import samples
from ncbench.data.class_numbers import class_indices, label_values, labels_of
from ncbench.data.map_set import map_style
from ncbench.data.samples import LABELS, Draws, drawing, input_of, label_of, split
from ncbench.measure import batches


def test_labels_have_the_names_that_batches_have():
    assert LABELS == batches.LABELS


@pytest.mark.parametrize(
    ("label", "number"),
    [
        (3, 3),
        (-1, -1),
        (True, 1),
        (np.int32(4), 4),
        (np.uint8(200), 200),
        (torch.tensor(5), 5),
        (torch.tensor([6]), 6),
        (torch.tensor([0.0, 0.0, 1.0]), 2),
        ([0, 1], 1),
        (np.eye(4, dtype=np.float32)[0], 0),
    ],
)
def test_labels(label, number):
    assert label_of(label, "train[0]") == number


@pytest.mark.parametrize(
    "label",
    [
        0.5,
        2.0,
        torch.tensor(1.0),
        torch.tensor([0.9, 0.1]),
        torch.tensor([1.0, 1.0]),
        [0, 2],
        "cat",
        None,
        [],
        {"a": 1},
    ],
)
def test_what_is_no_label(label):
    with pytest.raises(ValueError, match=r"^train\[7\]: a label must be a whole number \(int\) or a one-hot"):
        label_of(label, "train[7]")


def test_inputs():
    assert input_of(np.zeros((2, 3)), "").dtype == torch.float64
    assert input_of(np.zeros((2, 3), np.float32)[::-1], "").dtype == torch.float32
    assert input_of(torch.zeros(2, dtype=torch.float16), "").dtype == torch.float32
    assert input_of(torch.zeros(2, dtype=torch.bfloat16), "").dtype == torch.float32
    assert input_of(torch.zeros(2, dtype=torch.int64), "").dtype == torch.int64


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (Image.new("RGB", (2, 2)), r"is a PIL image; give the Dataset a transform .*torchvision.transforms.ToTensor"),
        (torch.eye(3).to_sparse(), r"must be a dense tensor, not one of torch.sparse_coo; to_dense\(\) or padding"),
        (torch.eye(3)[0].to_sparse(), "must be a dense tensor"),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), r"is pixels of 0 to 255 \(uint8\), which nothing here scales"),
        (torch.tensor(1.0), "is a single number; give it a dimension"),
        (torch.zeros(2, dtype=torch.bool), "must be floats or whole numbers, not torch.bool"),
        (torch.zeros(2, dtype=torch.complex64), "must be floats or whole numbers, not torch.complex64"),
        ([1.0, 2.0], "must be a tensor or an array, not a list"),
        (np.array(["a"], dtype=object), "must be a tensor or an array, not a ndarray"),
        (None, "must be a tensor or an array, not a NoneType"),
    ],
)
def test_what_is_no_input(x, message):
    with pytest.raises(ValueError, match=rf"^train\[0\]: .*{message}") as error:
        input_of(x, "train[0]")
    assert "\n" not in str(error.value)


def test_forms_of_a_sample():
    assert split((1, 2), "") == split([1, 2, 3], "") == (1, 2)
    assert split({"image": 1, "label": 2}, "") == split(OrderedDict(y=2, x=1), "") == (1, 2)
    with pytest.raises(ValueError, match=r"^train\[0\]: a mapping must have its label under one of labels, .*a, b"):
        split({"a": 1, "b": 2}, "train[0]")
    with pytest.raises(ValueError, match=r"one input beside it, and this one has the keys ids, mask, labels"):
        split({"ids": 1, "mask": 2, "labels": 3}, "train[0]")
    with pytest.raises(ValueError, match=r"^train\[0\]: must be \(input, label\) or a mapping .*, not a Tensor"):
        split(torch.zeros(2), "train[0]")


def three():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_draws_are_seeded_and_leave_the_generators_alone():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = [three(), three()]
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    assert three() == expected[0]
    with drawing(-5):
        inside = [three(), three()]
    assert three() == expected[1]
    stream = Draws(-5)
    with stream.resumed():
        first = three()
    three()
    with stream.resumed():
        assert [first, three()] == inside
    with pytest.raises(RuntimeError, match="planted"), drawing(3):
        raise RuntimeError("planted")
    with drawing(-5):
        assert three() == inside[0]


@pytest.mark.parametrize("generator", ["random.setstate(states[0])", "np.random.set_state(states[1])"])
def test_a_generator_that_is_not_restored_is_seen(mutant, generator):
    broken = mutant(samples, generator, "pass")
    random.seed(1)
    np.random.seed(1)
    before = three()[:2]
    random.seed(1)
    np.random.seed(1)
    with broken.drawing(0):
        three()
    assert three()[:2] != before


class Listed:
    """A Dataset with `targets`, right ones or wrong ones, that counts how often it is read."""

    def __init__(self, labels, targets):
        self.labels, self.targets, self.read = labels, targets, 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.read += 1
        return torch.zeros(2), self.labels[i]


def test_labels_come_from_targets_where_they_are_right():
    labels = [i % 3 for i in range(100)]
    right = Listed(labels, labels)
    assert labels_of(right, "train").tolist() == labels
    assert right.read == 8
    assert labels_of(Subset(right, [5, 1, 99]), "train").tolist() == [2, 1, 0]
    for targets in ([0] * 100, labels[:-1], ["a"] * 100, None):  # wrong, of other samples, no numbers, none
        assert labels_of(Listed(labels, targets), "train").tolist() == labels


def test_labels_of_tensors():
    x = torch.zeros(4, 2)
    assert labels_of(TensorDataset(x, torch.tensor([[3], [1], [0], [3]])), "train").tolist() == [3, 1, 0, 3]
    assert labels_of(TensorDataset(x, torch.eye(4)[[2, 0, 1, 3]]), "train").tolist() == [2, 0, 1, 3]
    with pytest.raises(ValueError, match=r"^train\[0\]: a label must be a whole number .* not tensor\(0.5000\)"):
        labels_of(TensorDataset(x, torch.tensor([0.5, 0.5, 1.0, 0.0])), "train")
    with pytest.raises(ValueError, match=r"^train: the inputs must be \(N, ...\), .* not \(4,\)"):
        labels_of(TensorDataset(torch.zeros(4), torch.arange(4)), "train")


def test_label_values():
    assert label_values([], torch.tensor([5, -1, 5]), None, "train").tolist() == [-1, 5]
    assert label_values([], torch.tensor([1, 0]), 2, "train").tolist() == [0, 1]
    assert class_indices(torch.tensor([5, -1, 5]), torch.tensor([-1, 5]), "train").tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"^train: num_classes=3 needs labels in 0..2, not in 1..3"):
        label_values([], torch.tensor([1, 2, 3]), 3, "train")
    with pytest.raises(ValueError, match=r"^train: num_classes=3 needs a sample of every class, and 1 has none"):
        label_values([], torch.tensor([0, 2]), 3, "train")
    with pytest.raises(ValueError, match=r"^train: every sample has the label 4; at least 2 classes are needed"):
        label_values([], torch.tensor([4, 4]), None, "train")
    for labels in ([0, 3], [0, -2], [0, 9]):
        with pytest.raises(ValueError, match=rf"^test\[1\]: has the label {labels[1]}, which no training sample has"):
            class_indices(torch.tensor(labels), torch.tensor([0, 1, 5]), "test")


def test_places_are_no_labels():
    """Of (input, place, label) the second would be a class of its own for each sample: no class has a second sample."""
    x = torch.zeros(3, 2)
    places, labels = torch.arange(3), torch.tensor([0, 1, 1])
    for given in (TensorDataset(x, places, labels), [(x[i], i, int(labels[i])) for i in range(3)]):
        own = labels_of(given, "train")
        with pytest.raises(
            ValueError, match=r"^train: of the 3 entries of a sample the second is its label, .* 0 to 2; "
        ):
            label_values(given, own, None, "train")
        assert label_values(given, own, 3, "train").tolist() == [0, 1, 2]
    for given in (TensorDataset(x, places), TensorDataset(x, places.flip(0), labels), TensorDataset(x, labels, places)):
        assert len(label_values(given, labels_of(given, "train"), None, "train")) >= 2


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([])


class WithoutLength(torch.utils.data.Dataset):
    def __getitem__(self, i):
        return torch.zeros(2), 0


@pytest.mark.parametrize("dataset", [Endless(), WithoutLength(), {"train": [1]}, 3, iter([])])
def test_what_is_no_map_style_dataset(dataset):
    with pytest.raises(ValueError, match=r"^train: \w+ must be a map-style Dataset, with __getitem__ and __len__"):
        map_style(dataset, "train")


def test_an_empty_dataset():
    with pytest.raises(ValueError, match=r"^train: list has no sample"):
        map_style([], "train")
