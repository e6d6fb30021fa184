"""Any module as the whole network: how it is made, what it is told of the data, what is refused."""

import warnings
from functools import partial

import pytest
import torch
from torch import nn

from ncbench.measure import Calls, find_classifier
from ncbench.models import ResNet18, whole_network
from ncbench.models.whole import seeded
from tests.helpers.whole_networks import Called, Functional, Lazy, create_model

OF_DIGITS = {"input_shape": (1, 8, 8), "num_classes": 10, "seed": 3}


def made(make, from_data=None, **changed):
    return whole_network(lambda: make, from_data=from_data or {}, **{**OF_DIGITS, **changed})


def test_what_is_asked_for_by_name_is_given_and_what_is_set_stays():
    assert made(partial(Functional)).fc.out_features == 10
    assert made(partial(Functional, num_classes=4), num_classes=4).fc.out_features == 4
    network = made(partial(create_model, "little"), {"num_classes": "num_classes", "in_chans": "in_channels"})
    assert (network.conv.in_channels, network.fc.out_features) == (1, 10)
    assert made(Lazy).body[1].in_features == 64  # lazy layers have their sizes
    resnet = made(ResNet18, {"output_width": "num_classes"}, input_shape=(3, 32, 32))
    assert (resnet.training, resnet.output.out_features) == (True, 10)


def test_the_initialisation_is_the_seeds_alone_and_the_global_generator_stays():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, again = made(Functional), made(Functional)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(one.fc.weight, made(Functional, seed=4).fc.weight)
    with seeded(3):  # nothing is drawn before the network itself
        assert torch.equal(Functional(1, 10).conv.weight, one.conv.weight)


def test_it_is_tried_with_samples_of_the_data_and_not_with_floats():
    tokens = torch.tensor([[0, 4, 2], [1, 1, 3]])
    network = nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.LazyLinear(10))
    few = nn.Sequential(nn.Embedding(4, 8), nn.Flatten(), nn.LazyLinear(10))
    assert made(partial(lambda: network), input_shape=(3,), samples=tokens)[2].in_features == 24
    with pytest.raises(ValueError, match=r"inputs of shape \(3,\), whole numbers \(torch.int64\): index out of range"):
        made(partial(lambda: few), input_shape=(3,), samples=tokens)


def test_batch_normalisation_has_not_seen_the_trial():
    norm = made(Functional).norm
    assert (norm.num_batches_tracked, norm.running_mean.abs().max(), norm.running_var.min()) == (0, 0, 1)


class Gives(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        return nn.Sequential(torch.jit.script(nn.Flatten()), nn.LazyLinear(10))


@pytest.mark.parametrize(
    ("make", "from_data", "message"),
    [
        (partial(Functional, num_classes=7), {}, r"gives \(2, 7\), and not \(2, 10\), .* as in \+model.num_classes=10"),
        (partial(Functional, in_channels=3), {}, r"does not take inputs of shape \(1, 8, 8\): .* to have 3 channels"),
        (partial(Functional), {"width": "classes"}, "from_data: width=classes must be one of num_classes, input_shape"),
        (partial(create_model, "little"), {"in_chans": "in_chans"}, r"gives \(2, 1000\), and not \(2, 10\)"),
        (dict, {}, "gives a value of type dict, and not a torch.nn.Module"),
        (partial(Gives, {"out": 1}), {}, "^_target_: the network gives a mapping with out; it must give the logits"),
        (partial(Gives, None), {}, r"^_target_: the network gives nothing \(None\); it must give the logits"),
        (lambda: nn.DataParallel(nn.Flatten()), {}, "^_target_: gives a DataParallel; give the network inside it"),
        (scripted, {}, "^_target_: 0 is made by torch.jit, which takes no forward hooks"),
    ],
)
def test_refused_in_one_line(make, from_data, message):
    with pytest.raises(ValueError, match=message):
        made(make, from_data)


def called(network, x):
    calls = Calls()
    with calls.watched(network):
        network(x)
    assert not any(module._forward_hooks for module in network.modules())
    return calls


def test_the_classifier_is_the_linear_layer_that_gives_the_outputs():
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 5))
    calls = called(network, torch.zeros(2, 4))
    assert calls.names == ["0", "1", "2.0", "2.1", "2", "3"]
    assert find_classifier(network, 5, calls) == "3"
    assert find_classifier(network, 3, calls) == "2.0"
    told = r"no linear layer with an output for each of the 7 classes \(0 has 3, 2.0 has 3, 3 has 5\)"
    with pytest.raises(ValueError, match=told):
        find_classifier(network, 7, calls)
    with pytest.raises(ValueError, match="it has no linear layer"):
        find_classifier(nn.Sequential(nn.ReLU()), 7, Calls())


@pytest.mark.parametrize("how", ["plain", "keyword", "scaled", "aside"])
def test_a_layer_that_is_not_called_or_gives_something_else_is_not_the_classifier(how):
    """`aside` and `spare` are registered behind it, and of `aside` it is not the last that is called."""
    calls = Calls()
    network = made(partial(Called, how=how), watch=calls.watched)
    assert find_classifier(network, 10, calls) == "last"
    assert calls.last == ([] if how == "scaled" else ["last"])


@pytest.mark.parametrize(
    ("how", "asked", "message"),
    [
        ("function", None, r"classes \(last has 10 and is not called, aside has 10 and is not called, spare has"),
        ("function", "last", "classifier=last: the forward pass never calls it"),
        ("plain", "spare", "classifier=spare: the forward pass never calls it"),
        ("plain", "body", r"classifier=body: must have an output for each of the 10 classes \(it has 6 outputs\)"),
        ("plain", "gc", "classifier=gc: the network has no such module"),
    ],
)
def test_a_classifier_whose_input_cannot_be_seen_or_with_other_outputs_is_refused(how, asked, message):
    calls = Calls()
    network = made(partial(Called, how=how), watch=calls.watched)
    with pytest.raises(ValueError, match=message):
        find_classifier(network, 10, calls, asked)


def test_a_classifier_by_name_may_be_any_module_with_one_weight_of_a_row_per_class():
    network = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Dropout(), nn.Linear(3, 5)), nn.Linear(5, 5))
    calls = called(network, torch.zeros(2, 4))
    assert find_classifier(network, 5, calls, "1") == "1"
    with pytest.raises(ValueError, match=r"classifier=1.0: must have .* \(it holds no weight of its own\)"):
        find_classifier(network, 5, calls, "1.0")


class Volumes(nn.Module):
    """Convolutions in three dimensions and a parameter of five, which have no channels-last format of images."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, padding=1)
        self.flat = nn.Conv2d(2, 2, 1)
        self.scale = nn.Parameter(torch.ones(1, 2, 1, 1, 1))
        self.fc = nn.Linear(2, 4)

    def forward(self, x):
        return self.fc(self.flat((self.scale * self.conv(x[:, None])).mean(2)).mean((2, 3)))


def test_parameters_of_any_number_of_dimensions():
    network = made(Volumes, input_shape=(3, 8, 8), num_classes=4)
    assert network.flat.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.conv.weight.is_contiguous()
