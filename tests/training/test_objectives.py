"""Fit and regulariser against numbers worked by hand, and which parameters are decayed."""

import math

import pytest
import torch

from ncbench.models.backbones import ResNet20, SmallMLP
from ncbench.models.heads import BackboneWithHead
from ncbench.training import ClassifierModule, PaperObjective
from ncbench.training.objectives import Decayed, decayed_parameters, per_matrix


def small(depth=2, backbone=SmallMLP):
    return BackboneWithHead(
        depth=depth, width=4, backbone=backbone, input_shape=(1, 8, 8), num_classes=3, seed=0, init_scale=None
    )


def test_sample_losses_by_hand():
    outputs = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    # (1-1)^2 + 2^2 = 4, halved; 0 + 1 halved. Cross-entropy: log(1 + e), log 2.
    mse, ce = (PaperObjective(loss, [], None, 2).sample_losses(outputs, labels) for loss in ("mse", "ce"))
    assert mse.tolist() == [2.0, 0.5]
    assert ce.tolist() == pytest.approx([math.log(1 + math.e), math.log(2)], rel=1e-14)


def test_cross_entropy_equals_torch_on_an_ensemble():
    outputs, labels = torch.randn(5, 7, 3), torch.randint(0, 3, (7,))
    ours = PaperObjective("ce", [], None, 7).sample_losses(outputs, labels)
    theirs = torch.stack([torch.nn.functional.cross_entropy(o, labels, reduction="none") for o in outputs])
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_penalties_by_hand():
    W = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
    objective = PaperObjective("mse", [Decayed("w", W, 0.1)], 0.2, num_samples=6)
    assert float(objective.parameter_penalty()) == pytest.approx(0.1 / 2 * 5, rel=1e-14)
    features = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert float(objective.feature_penalty(features)) == pytest.approx(0.2 / 2 * 26, rel=1e-6)
    # A batch of 2 of 6 samples: the feature term is scaled by 3.
    outputs, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    assert float(objective.batch_estimate(outputs, features, labels)) == pytest.approx(0.5 + 3 * 2.6, rel=1e-6)


def test_penalty_per_replica():
    W = torch.nn.Parameter(torch.ones(2, 3, 3))
    objective = PaperObjective("mse", [Decayed("w", W, torch.tensor([0.1, 0.4]))], None, 1)
    assert objective.parameter_penalty().tolist() == pytest.approx([0.45, 1.8])


def test_mean_of_batch_estimates_is_the_objective():
    net = small()
    x, y = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    decayed, _ = decayed_parameters(net, "dufm_like", 0.0)
    objective = PaperObjective("mse", decayed, 0.3, 12)
    H = net.features(x).detach()
    whole = objective.sample_losses(net.head(H).detach(), y).mean() + objective.feature_penalty(H)
    batches = [objective.batch_estimate(net.head(H[i : i + 4]).detach(), H[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)]
    assert float(torch.stack(batches).mean()) == pytest.approx(float(whole), rel=1e-5)


def test_decayed_parameters():
    net = small(depth=3)
    decayed, free = decayed_parameters(net, "dufm_like", [1e-3, 2e-3, 3e-3])
    assert [(d.name, d.decay) for d in decayed] == [(f"head.{l}.linear.weight", l * 1e-3) for l in (1, 2, 3)]
    assert all(name.startswith("features.") for name, _ in free)
    everything, none = decayed_parameters(small(backbone=ResNet20), "standard", 5e-4)
    assert not none
    names = [d.name for d in everything]
    assert any(name.endswith("bias") for name in names)
    assert {d.decay for d in everything} == {5e-4}


def test_what_is_frozen_is_neither_decayed_nor_trained():
    """A pretrained backbone, and a last matrix that stays as it is: the decays are those of the matrices by place."""
    net = small(depth=3)
    net.features.requires_grad_(False)
    net.head.get_parameter("2.linear.weight").requires_grad_(False)
    assert [d.name for d in decayed_parameters(net, "standard", 1e-3)[0]] == [f"head.{l}.linear.weight" for l in (1, 3)]
    options = {"loss": "mse", "regulariser": "standard", "feature_decay": None, "num_samples": 9}
    module = ClassifierModule(network=net, weight_decay=1e-3, optimizer=torch.optim.SGD, **options)
    assert module.frozen == ["head.2.linear.weight"]
    decayed, free = decayed_parameters(net, "dufm_like", [1e-3, 2e-3, 3e-3])
    assert [(d.name, d.decay, free) for d in decayed] == [
        ("head.1.linear.weight", 1e-3, []),
        ("head.3.linear.weight", 3e-3, []),
    ]


def test_parameters_of_one_decay_are_one_group_of_the_optimiser():
    """L-BFGS takes no second one."""
    options = {"loss": "mse", "regulariser": "dufm_like", "feature_decay": 0.0, "num_samples": 9}
    made = lambda parameters: torch.optim.LBFGS(parameters)  # noqa: E731
    module = ClassifierModule(network=small(), weight_decay=0.0, optimizer=made, **options)
    (group,) = module.configure_optimizers().param_groups
    assert len(group["params"]) == len(list(module.network.parameters()))
    module = ClassifierModule(network=small(), weight_decay=1e-3, optimizer=made, **options)
    with pytest.raises(ValueError, match="per-parameter options"):
        module.configure_optimizers()


def test_weight_decay_of_the_optimiser_is_the_gradient_of_the_penalty():
    net = small()
    module = ClassifierModule(
        loss="mse",
        regulariser="standard",
        weight_decay=0.1,
        feature_decay=None,
        network=net,
        num_samples=6,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=1.0),
    )
    optimizer = module.configure_optimizers()
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(net.parameters()))
    before = [p.detach().clone() for p in net.parameters()]
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    loss = module.training_step((x, y), 0) + sum(0.1 / 2 * p.square().sum() for p in net.parameters())
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    optimizer.zero_grad()
    module.training_step((x, y), 0).backward()
    optimizer.step()
    for p, b, g in zip(net.parameters(), before, gradients, strict=True):
        assert torch.allclose(p, b - g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_decay": None}, "^feature_decay=None must be a number >= 0 for the dufm_like"),
        (
            {"regulariser": "standard"},
            "^feature_decay=0.001 must be None, as the standard regulariser has no feature term",
        ),
        ({"regulariser": "l1"}, "^regulariser=l1 must be dufm_like or standard"),
        ({"loss": "hinge"}, "^loss=hinge must be mse or ce"),
        ({"weight_decay": [1e-3]}, "weight_decay=.0.001. must be one number, or one for each weight matrix"),
    ],
)
def test_bad_objectives(change, message):
    good = dict(loss="mse", regulariser="dufm_like", weight_decay=1e-3, feature_decay=1e-3)
    with pytest.raises(ValueError, match=message):
        ClassifierModule(**{**good, **change}, network=small(), num_samples=3, optimizer=torch.optim.SGD)


def test_one_decay_or_one_per_matrix():
    assert per_matrix(1e-3, 2) == [1e-3, 1e-3]
    assert per_matrix([1e-3, 2e-3], 2) == [1e-3, 2e-3]
