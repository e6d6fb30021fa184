"""What a sample may be: inputs, labels and forms that are taken, and the one line for each that is not."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image

from ncbench.data.map_set import map_style
from ncbench.data.samples import LABELS, input_of, label_of, split
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
        ([1.0, 2.0], "must be a tensor or an array, not a value of type list"),
        (np.array(["a"], dtype=object), "must be a tensor or an array, not a value of type ndarray"),
        (None, "must be a tensor or an array, not a value of type NoneType"),
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
    with pytest.raises(
        ValueError, match=r"^train\[0\]: must be \(input, label\) or a mapping .*, not a value of type Tensor"
    ):
        split(torch.zeros(2), "train[0]")


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
