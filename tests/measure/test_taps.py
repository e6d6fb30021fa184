"""Which tensors a layer's name stands for."""

import pytest
import torch
from torch import nn

from ncbench.measure import Taps, list_layers
from ncbench.models.heads import mlp_head


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
        self.head = mlp_head(4, 4, 2, depth=2)

    def forward(self, x):
        return self.head(self.features(x))


def collected(model, layers, inputs, **options):
    found = {}
    with Taps(model, layers, **options).open(lambda layer, stage, x: found.update({(layer, stage): x.clone()})):
        model(inputs)
    return found


def test_stages_of_features_head_and_logits():
    net, x = Net(), torch.randn(7, 3)
    found = collected(net, ["features", "head.1", "head.2"], x)
    H = net.features(x)
    Z = H @ net.head[0].linear.weight.T
    assert list(found) == [("features", "post"), ("head.1", "pre"), ("head.1", "post"), ("head.2", "pre")]
    assert torch.equal(found["features", "post"], H)
    assert torch.allclose(found["head.1", "pre"], Z)
    assert torch.equal(found["head.1", "post"], found["head.1", "pre"].relu())
    assert torch.equal(found["head.2", "pre"], net(x))


def test_a_pre_activation_is_seen_before_an_in_place_relu_changes_it():
    net = nn.Sequential()
    net.add_module("layer", nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)))
    found = collected(net, ["layer"], torch.randn(50, 3))
    assert (found["layer", "pre"] < 0).any()
    assert (found["layer", "post"] >= 0).all()


def test_hooks_are_gone_afterwards():
    net = Net()
    collected(net, ["features", "head.*"], torch.randn(2, 3))
    assert not any(m._forward_hooks for m in net.modules())


def test_reductions_of_convolutions_and_tokens():
    conv = nn.Sequential(nn.Conv2d(1, 2, 1))
    x = torch.randn(3, 1, 4, 4)
    assert torch.equal(collected(conv, ["0"], x)["0", "pre"], conv(x).flatten(1))
    assert torch.allclose(collected(conv, ["0"], x, reduction="mean")["0", "pre"], conv(x).mean((2, 3)))
    tokens = nn.Sequential(nn.Linear(2, 2))
    t = torch.randn(3, 5, 2)
    assert torch.equal(collected(tokens, ["0"], t, reduction="cls")["0", "pre"], tokens(t)[:, 0])


def test_names_and_globs():
    net = Net()
    assert "head.1.linear" in list_layers(net)
    assert [layer.name for layer in Taps(net, ["head.?"]).layers] == ["head.1", "head.2"]
    with pytest.raises(ValueError, match=r"measure.layers=head.9: no such layer; the network has features"):
        Taps(net, ["head.9"])
    with pytest.raises(ValueError, match="reduction=max: must be one of flatten, mean, cls"):
        Taps(net, ["head.1"], reduction="max")
