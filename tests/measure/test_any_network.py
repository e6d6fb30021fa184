"""One callback, nothing said about the network's type: a DUFM, our ResNet20, torchvision's ResNet18 and ViT."""

import ast
import inspect
import pkgutil
from fnmatch import fnmatch
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18, vit_b_16

import ncbench.measure
from ncbench import MeasureCollapse
from ncbench.models import BackboneWithHead, ResNet20
from ncbench.models.replica import DUFM

K = 3
Y = torch.arange(K).repeat(2)


def images(size):
    return torch.randn(len(Y), 3, size, size, generator=torch.Generator().manual_seed(0))


def dufm():
    return DUFM(depth=3, width=8, activation="relu", init_scale=1.0, num_classes=K, num_samples=len(Y), seeds=[0, 1])


def resnet20():
    return BackboneWithHead(depth=2, width=8, backbone=ResNet20, input_shape=(3, 32, 32), num_classes=K, seed=0)


CASES = {
    "dufm": (dufm, torch.arange(len(Y)), ["features", "head.?"], "flatten", "head.3"),
    "resnet20": (resnet20, images(32), ["features.stage?", "features", "head.1", "head.2"], "mean", "head.2"),
    "resnet18": (partial(resnet18, num_classes=K), images(32), ["layer4", "layer4.1.conv1", "fc"], "flatten", "fc"),
    "vit_b_16": (
        partial(vit_b_16, num_classes=K),
        images(224),
        ["conv_proj", "encoder.layers.encoder_layer_0", "encoder.ln", "heads.*"],
        {"conv_proj": "mean", "*": "cls"},
        "heads.head",
    ),
}


class Foreign(pl.LightningModule):
    """Somebody's LightningModule around any network, which trains one step."""

    def __init__(self, network, inputs):
        super().__init__()
        self.network, self.inputs = network, inputs

    def forward(self, x):
        return self.network(x)

    def training_step(self, batch, _):
        return (self.network(batch[0]) - torch.eye(K)[batch[1]]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)

    def train_dataloader(self):
        return DataLoader([(self.inputs, Y)], batch_size=None)


@pytest.mark.parametrize("name", ["dufm", "resnet20", "resnet18", pytest.param("vit_b_16", marks=pytest.mark.slow)])
def test_the_same_callback_measures(name):
    make, inputs, layers, reduction, last = CASES[name]
    torch.manual_seed(0)
    network = make()
    batches = [(inputs[:4], Y[:4]), (inputs[4:], Y[4:])]
    options = {"epochs": [1], "module": network, "reduction": reduction, "measures": ["cdnv", "nc1"]}
    callback = MeasureCollapse(layers, batches, num_classes=K, **options)
    silent = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[callback], **silent).fit(Foreign(network, inputs))

    table = callback.table()
    measured = table[table.stage.isin(["pre", "post"])]
    assert all(any(fnmatch(layer, glob) for layer in measured.layer) for glob in layers)
    finite = measured[measured.measure.isin(["tcv", "dnc1", "cdnv", "nc1"])]
    assert set(finite.groupby(["layer", "stage", "replica"]).size()) == {4}
    assert np.isfinite(finite.value).all()
    found = measured[(measured.layer == last) & (measured.measure == "tcv") & (measured.replica == 0)]
    assert found.value.item() == pytest.approx(within(output(network, last, inputs)), rel=1e-4)


def output(network, layer, inputs):
    """The layer's output after training, by a hook of this test's own."""
    found = []
    handle = network.get_submodule(layer).register_forward_hook(lambda m, i, o: found.append(o))
    network.eval()
    with torch.no_grad():
        network(inputs)
    handle.remove()
    return found[0][0] if found[0].ndim == 3 else found[0]


def within(H):
    H = H.double()
    return sum((H[c == Y] - H[c == Y].mean(0)).square().sum().item() for c in range(K)) / len(H)


def test_the_package_names_no_type_of_ours():
    ours = {name for name in dir(import_module("ncbench.models")) if not name.startswith("_")} | {"DUFM", "digits"}
    for info in pkgutil.iter_modules(ncbench.measure.__path__, "ncbench.measure."):
        if info.name != "ncbench.measure.__main__":
            tree = ast.parse(inspect.getsource(import_module(info.name)))
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert not used & (ours - {"Tensor", "nn", "torch"}), info.name


class Tokens(nn.Module):
    """A small transformer with its tokens second (torch's default order), as recurrent networks have it."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 8)

    def forward(self, x):
        return self.block(x.transpose(0, 1))[0]


def test_another_order_of_axes_is_refused_by_name_and_measured_by_a_function():
    x = torch.randn(len(Y), 5, 4)
    measure = partial(ncbench.measure.measure_network, Tokens(), [(x, Y)], layers=["block"], num_classes=K)
    with pytest.raises(ValueError, match=r"\(5, 6, 4\), which is not one vector for each of the 6 samples"):
        measure()
    found = measure(reduction=lambda tokens: tokens[0])
    assert found[found.measure == "tcv"].value.item() > 0
