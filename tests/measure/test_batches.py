"""Batches and outputs of every form that loaders and networks have."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn

from ncbench.measure import measure_network
from ncbench.measure.batches import first_samples, logits, unpacked

K = 2
X, Y = torch.tensor([[0.0], [2.0], [10.0], [14.0]]), torch.tensor([0, 0, 1, 1])
TCV = 2.5  # ((1 + 1) + (4 + 4)) / 4


class Named(nn.Module):
    """Keyword inputs and a mapping as output, as in libraries of transformers."""

    def __init__(self):
        super().__init__()
        self.body = nn.Identity()
        self.pair = Pair()

    def forward(self, pixels, mask=None):
        x = self.pair(self.body(pixels))[0]
        return {"loss": None, "hidden": (x,), "logits": torch.cat([-x, x - 10], 1)}


class Pair(nn.Module):
    def forward(self, x):
        return x, {"weights": None}


@pytest.mark.parametrize(
    "batch",
    [
        {"pixels": X, "labels": Y},
        {"pixels": X, "mask": None, "label": Y},
        {"images": X, "y": Y.unsqueeze(1)},  # one input: its name does not matter
        (X, Y),
        [X, Y, torch.arange(4)],
        ((X, None), Y),
        ({"pixels": X}, Y),
        (X, Y.tolist()),
        (X, Y.to(torch.uint8)),
    ],
)
def test_forms_of_batches(batch):
    model = Named()
    found = measure_network(model, [batch], layers=["body", "pair"], num_classes=K).set_index(["layer", "measure"])
    if isinstance(batch, tuple) and isinstance(batch[0], dict):
        assert model(**batch[0])["logits"].shape == (4, K)
    assert found.loc[("body", "tcv"), "value"].item() == TCV
    assert found.loc[("pair", "tcv"), "value"].item() == TCV
    assert found.loc[("", "accuracy"), "value"].item() == 1.0


class Graph:
    """A batch that moves itself, as graphs and packed sequences do; `gives`: whether `to` returns it."""

    def __init__(self, x, gives=True):
        self.x, self.gives, self.moved = x, gives, []

    def to(self, device):
        self.moved.append(device)
        self.x = self.x.to(device)
        return self if self.gives else None


class OfGraph(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(1, 1)

    def forward(self, graph):
        return self.body(graph.x)


@pytest.mark.parametrize("gives", [True, False])
def test_a_batch_with_a_method_to_is_moved_by_it(gives):
    graph, model = Graph(X, gives), OfGraph()
    ((inputs, _),) = unpacked([graph], model, lambda batch: (batch, Y))
    assert inputs is graph
    assert graph.moved == [torch.device("cpu")]
    assert len(measure_network(model, [graph], layers=["body"], num_classes=K, unpack=lambda batch: (batch, Y)))


class Bag:
    """A batch that nobody can move."""

    def __init__(self, x):
        self.x = x


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            Graph(X),
            "inputs: a Graph is moved by its own method to.device., and its tensors have to be of the network's",
        ),
        (
            Bag(X),
            "inputs: a Bag is not moved, as it has no method to.device., and its tensors have to be of the network",
        ),
        ({"graph": [Bag(X)]}, "inputs: a Bag is not moved"),
    ],
)
def test_tensors_inside_an_object_that_are_of_another_dtype_are_said_in_one_line(batch, message):
    """As with Lightning's own 64-true: what is inside is the batch's own affair, and `unpack` can give it so."""
    model = OfGraph().double()
    if isinstance(batch, dict):
        model.forward = lambda graph: model.body(graph[0].x)
    with pytest.raises(ValueError, match=f"{message}.*") as raised:
        measure_network(model, [batch], layers=["body"], num_classes=K, unpack=lambda batch: (batch, Y))
    assert str(raised.value).endswith("dtype torch.float64 and on cpu; have unpack give it so")
    measured = [Graph(X.double())]
    assert len(measure_network(OfGraph().double(), measured, layers=["body"], num_classes=K, unpack=lambda b: (b, Y)))


def test_another_error_of_a_network_with_such_a_batch_stays_what_it_is():
    model = OfGraph()
    model.forward = lambda graph: model.body(graph.x.expand(4, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure_network(model, [Graph(X)], layers=["body"], num_classes=K, unpack=lambda b: (b, Y))


class Pairs(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@dataclass(frozen=True)
class Record:
    x: torch.Tensor
    name: str = "as it is"


def test_tensors_are_reached_in_every_collection_which_stays_what_it_is():
    packed = nn.utils.rnn.pack_sequence([X[:2], X[:1]])
    given = {"pairs": Pairs(X, X), "record": Record(X), "packed": packed, "nested": [(X, None)]}
    ((inputs, _),) = unpacked([(given, Y)], nn.Linear(1, 1).double())
    assert isinstance(inputs["pairs"], Pairs)
    assert isinstance(inputs["record"], Record)
    assert isinstance(inputs["packed"], nn.utils.rnn.PackedSequence)
    for x in (*inputs["pairs"], inputs["record"].x, inputs["nested"][0][0]):
        assert x.dtype == torch.float64
    assert (given["record"].x.dtype, inputs["record"].name) == (torch.float32, "as it is")
    fewer = first_samples(inputs, 3, 4)
    assert [len(x) for x in (*fewer["pairs"], fewer["record"].x, fewer["nested"][0][0])] == [3] * 4


def test_unpack_takes_the_place_of_the_rules():
    batch = {"a": X, "b": {"class": Y}}
    found = measure_network(
        Named(), [batch], layers=["body"], num_classes=K, unpack=lambda b: (b["a"], b["b"]["class"])
    )
    assert found[found.measure == "tcv"].value.item() == TCV


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (X, "a batch must be .inputs, labels, .... or a mapping, and this one is of type Tensor; give unpack"),
        (
            {"pixels": X},
            "must have its labels under one of labels, label, targets, target, y, and this one has the keys",
        ),
        ((X, Y.double()), "labels must be one integer per sample, not torch.float64"),
        ((X, torch.eye(4).long()), r"labels must be one integer per sample, not torch.int64 \(4, 4\)"),
        ((X, Y + 1), r"num_classes=2 needs labels in \[0, 1\], but the data has labels in \[1, 2\]"),
    ],
)
def test_what_cannot_be_understood_is_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        measure_network(Named(), [batch], layers=["body"], num_classes=K)


def test_a_loader_without_batches_is_refused():
    with pytest.raises(ValueError, match="the loader gave no batch, so there is nothing to measure"):
        measure_network(Named(), [], layers=["body"], num_classes=K)


def test_inputs_go_to_the_models_dtype_and_integers_stay():
    model = nn.Linear(1, K).double()
    (inputs, labels), *_ = unpacked([((X, torch.arange(4)), Y)], model)
    assert [x.dtype for x in inputs] == [torch.float64, torch.int64]
    assert labels.dtype == torch.int64


def test_logits_are_those_of_the_classes_or_none():
    x = torch.randn(4, K)
    assert logits(x, 4, K) is x
    assert logits({"loss": torch.zeros(()), "logits": x}, 4, K) is x
    assert logits((x, None), 4, K) is x
    assert logits(torch.randn(4, 7), 4, K) is None  # pretrained on other classes
    assert logits(torch.randn(4, 3, 4, K), 4, K) is None
    assert logits({"loss": None}, 4, K) is None
    assert logits(torch.randn(5, 4, K), 4, K) is not None  # replicas


def test_num_classes_from_the_dataset():
    data = torch.utils.data.TensorDataset(X, Y)
    loader = torch.utils.data.DataLoader(data, batch_size=3)
    with pytest.raises(ValueError, match="num_classes=None needs a loader whose dataset has classes or targets"):
        measure_network(Named(), loader, layers=["body"])
    data.targets = Y.tolist()
    found = measure_network(Named(), loader, layers=["body"])
    assert found[found.measure == "tcv"].value.item() == TCV
    data.classes = ["a"]
    with pytest.raises(ValueError, match="num_classes=1 must be at least 2"):
        measure_network(Named(), loader, layers=["body"])
