"""The head's names, shapes and refusals; a construction that leaves the global generator alone."""

from functools import partial

import pytest
import torch
from torch import nn

from ncbench.models import BackboneWithHead, ResNet20, SmallMLP, mlp_head

SMALL = partial(SmallMLP, hidden=[16])


def build(**changes):
    options = {"depth": 4, "width": 12, "activation": "relu", "backbone": SMALL, "input_shape": (1, 8, 8)}
    return BackboneWithHead(**{**options, "num_classes": 10, "seed": 3, **changes})


def test_names_and_shapes():
    head = mlp_head(30, 12, 10, 3)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "1.linear.weight": (12, 30),
        "2.linear.weight": (12, 12),
        "3.linear.weight": (10, 12),
    }
    assert [name for name, _ in head.named_children()] == ["1", "2", "3"]
    for number in ("1", "2"):
        assert [type(m) for m in head.get_submodule(number)] == [nn.Linear, nn.ReLU]
        assert not head.get_submodule(f"{number}.activation").inplace
    assert [type(m) for m in head.get_submodule("3")] == [nn.Linear]
    linear = mlp_head(30, 12, 10, 3, activation="linear")
    assert [type(m) for m in linear.modules() if not isinstance(m, nn.Sequential)] == [nn.Linear] * 3
    assert [tuple(p.shape) for p in mlp_head(12, 12, 10, 1).parameters()] == [(10, 12)]


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_the_formula(activation):
    head, h = mlp_head(9, 12, 10, 3, activation), torch.randn(5, 9)
    W1, W2, W3 = head.parameters()
    s = torch.relu if activation == "relu" else (lambda z: z)
    torch.testing.assert_close(head(h), (W3 @ s(W2 @ s(W1 @ h.T))).T)


def test_a_width_for_every_layer():
    model = build(width=[12, 14, 11, 13])
    assert [layer.linear.weight.shape for layer in model.head] == [(14, 12), (11, 14), (13, 11), (10, 13)]
    assert build(width=[8], depth=1, num_classes=8).head[0].linear.weight.shape == (8, 8)
    with pytest.raises(ValueError, match=r"^width=\[12, 14\] must be one number, or one for each of H_1 ... H_L \(4\)"):
        build(width=[12, 14])


def test_errors():
    with pytest.raises(ValueError, match=r"^width=8 must be at least the number of classes \(10\)"):
        build(width=8)
    with pytest.raises(ValueError, match=r"^depth=0 must be at least 1"):
        build(depth=0)
    with pytest.raises(ValueError, match=r"^activation=gelu must be one of relu, linear"):
        build(activation="gelu")
    with pytest.raises(ValueError, match=r"^init_scale=-1 must be positive"):
        build(init_scale=-1)


def test_features_then_head():
    model, x = build(), torch.randn(3, 1, 8, 8)
    assert [name for name, _ in model.named_children()] == ["features", "head"]
    assert model.features(x).shape == (3, 12)
    assert torch.equal(model(x), model.head(model.features(x)))
    assert model(x).shape == (3, 10)


def test_construction_is_a_function_of_the_seed_only():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    second = build()
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    other = build(seed=4)
    assert not any(torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters(), strict=True))
    # A refusal restores the generator as well.
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"^width"):
        build(width=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_default_device_does_not_change_the_weights():
    expected = build().state_dict()
    with torch.device("meta"):
        model = build()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_initialisation():
    default, scaled = build(width=400), build(width=400, init_scale=0.7)
    for name, weight in scaled.head.named_parameters():
        assert abs(float(weight.detach().std()) * 20 / 0.7 - 1) < 0.03, name
    for weight in default.head.parameters():
        assert weight.detach().abs().max() <= 1 / 20
        assert abs(float(weight.detach().std()) * 20 * 3**0.5 - 1) < 0.03
    # The backbone does not depend on the head's initialisation or depth.
    for model in (scaled, build(width=400, depth=2)):
        assert all(
            torch.equal(p, q) for p, q in zip(model.features.parameters(), default.features.parameters(), strict=True)
        )


def test_nothing_works_in_place():
    model = build(backbone=ResNet20, input_shape=(3, 32, 32))
    assert not any(getattr(m, "inplace", False) for m in model.modules())


def test_an_orthogonal_head_has_equal_singular_values():
    network = BackboneWithHead(
        depth=3,
        width=16,
        backbone=SmallMLP,
        init_scale=1.2,
        init_rule="orthogonal",
        input_shape=(1, 8, 8),
        num_classes=4,
        seed=0,
    )
    for weight in network.head.parameters():
        assert torch.linalg.svdvals(weight.detach()).tolist() == pytest.approx([1.2] * min(weight.shape), rel=1e-5)
    with pytest.raises(ValueError, match="init_scale=None must be a number with init_rule=orthogonal"):
        BackboneWithHead(
            depth=3, width=16, backbone=SmallMLP, init_rule="orthogonal", input_shape=(1, 8, 8), num_classes=4, seed=0
        )
