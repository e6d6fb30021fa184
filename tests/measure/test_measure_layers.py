"""Names of layers under the wrappers that libraries put around a network."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from ncbench.measure import LayerHooks, layers, list_layers, measure_network
from ncbench.measure.layers import unwrap

K = 3
X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(K).repeat(4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.module = nn.Sequential(nn.Linear(4, 6), nn.ReLU())  # a layer whose own name is that of DDP's part
        self.fc = nn.Linear(6, K)

    def forward(self, x):
        return self.fc(self.module(x))


def compiled(model):
    return torch.compile(model, backend="eager")


def half_compiled():
    net = Net()
    net.module = compiled(net.module)
    return net


NAMES = ["module", "module.0", "module.1", "fc"]


@pytest.mark.parametrize(
    "wrapped",
    [
        Net,
        lambda: compiled(Net()),
        half_compiled,
        lambda: DataParallel(Net()),
        lambda: compiled(DataParallel(Net())),
        lambda: DataParallel(compiled(Net())),
    ],
)
def test_names_and_values_do_not_depend_on_wrappers(wrapped):
    plain, model = measure_network(Net(), [(X, Y)], layers=["module", "fc"], num_classes=K), wrapped()
    assert list_layers(model) == NAMES
    for train_first in (False, True):
        if train_first:
            model(X)  # compiled now, without hooks: they must be seen all the same
        found = measure_network(model, [(X, Y)], layers=["mod*e", "fc"], num_classes=K)
        assert found.drop(columns="value").equals(plain.drop(columns="value"))
        assert found.value.to_numpy() == pytest.approx(plain.value.to_numpy(), rel=1e-12, nan_ok=True)


def test_printed_names_of_a_wrapped_network_are_understood():
    model = DataParallel(compiled(Net()))
    printed = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert printed == ["module._orig_mod.module.0", "module._orig_mod.fc"]
    assert [layer.name for layer in LayerHooks(model, printed).layers] == ["module.0", "fc"]


def test_unwrap_gives_the_network_itself():
    net = Net()
    assert unwrap(compiled(DataParallel(net))) is net
    assert unwrap(net) is net


def test_a_planted_bug_that_takes_every_part_called_module_for_ddp_is_seen(mutant):
    bug = mutant(layers, "and isinstance(module, PARALLEL))", ")")
    assert bug.list_layers(Net()) != NAMES


def test_weights_as_matrices():
    # Literals: a kernel (2, 1, 1, 2) row by row; the transposed one (1, 2, 1, 2) maps 1 channel to 2.
    conv, transposed = nn.Conv2d(1, 2, (1, 2)), nn.ConvTranspose2d(1, 2, (1, 2))
    conv.weight.data = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
    transposed.weight.data = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    weights = LayerHooks(nn.Sequential(conv, transposed), ["*"]).weights()
    assert weights["0"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert weights["1"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_grouped_and_parametrised_weights():
    grouped = nn.Conv1d(4, 6, 3, groups=2)
    norm = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    weights = LayerHooks(nn.Sequential(grouped, norm), ["0", "1"]).weights()
    assert weights["0"].shape == (6, 2 * 3)
    assert torch.equal(weights["1"], norm.weight)


def test_an_embedding_has_outputs_and_no_weight():
    hooks = LayerHooks(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, K)), ["0", "1"])
    assert list(hooks.weights()) == ["1"]
    found = measure_network(hooks.model, [(torch.arange(3), torch.arange(K))], layers=["0"], num_classes=K)
    assert set(found.stage) == {"", "post"}


def resnet_like():
    block = {"conv1": nn.Conv2d(1, 1, 1), "conv2": nn.Conv2d(1, 1, 1)}
    layers = {f"layer{number}": nn.Sequential(nn.Sequential(OrderedDict(block))) for number in (1, 2)}
    return nn.Sequential(OrderedDict({"conv1": nn.Conv2d(1, 1, 1), **layers, "fc": nn.Linear(1, K)}))


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("layer*", "layer1 layer2"),
        ("layer?.*", "layer1.0 layer2.0"),
        ("layer[2-9].*.conv1", "layer2.0.conv1"),
        ("*", "conv1 layer1 layer2 fc"),
        ("**.conv1", "conv1 layer1.0.conv1 layer2.0.conv1"),
        ("layer1.**", "layer1 layer1.0 layer1.0.conv1 layer1.0.conv2"),
        ("layer1.*.**.conv2", "layer1.0.conv2"),
        ("*.input", "conv1.input layer1.input layer2.input fc.input"),
        ("layer1.**.conv?.input", "layer1.0.conv1.input layer1.0.conv2.input"),
    ],
)
def test_a_star_stays_between_two_dots(glob, names):
    assert [layer.name for layer in layers.resolve(resnet_like(), [glob])] == names.split()


@pytest.mark.parametrize("glob", ["layer*.conv1", "*.conv1", "layer1.*.*.*", "**.layer3"])
def test_a_glob_that_matches_nothing_is_refused(glob):
    with pytest.raises(ValueError, match="the network has no such layer; it has conv1, layer1, layer1.0, layer2"):
        layers.resolve(resnet_like(), [glob])


def test_a_recorded_name_is_found_again_inside_a_wrapper():
    asked = ["module", "module.0", "module.input", "module.module.1"]  # the last as the wrapper prints it
    found = [layer.name for layer in layers.resolve(DataParallel(Net()), asked)]
    assert found == ["module", "module.0", "module.input", "module.1"]
