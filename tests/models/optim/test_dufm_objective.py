"""The flat objective of free features: a worked example, autograd as the twin, padding, places, and planted bugs."""

import math

import pytest
import torch

from ncbench.models.replica import DUFM, DUFMLayout
from ncbench.models.replica.optim import dufm_gradient, dufm_objective

K, PER_CLASS, DEPTH, R = 3, 3, 3, 4
LABELS = torch.arange(K).repeat_interleave(PER_CLASS)
DECAYS = torch.tensor([[1e-3, 2e-3, 3e-3, 1e-2], [0.0] * 4, [0.1, 0.2, 0.3, 0.4], [1e-2] * 4], dtype=torch.float64)
NARROW, WIDE = (6, 5, 4), (13, 6, 7)  # 9 samples fill a register better than 6 entries and worse than 13


def ensemble(activation="relu", width=NARROW, dtype=torch.float64, replicas=range(R)):
    shape = dict(depth=DEPTH, width=width, num_classes=K, num_samples=len(LABELS), init_scale=1.3)
    return DUFM(**shape, activation=activation, seeds=[20 + i for i in replicas], dtype=dtype)


def evaluated(network, loss, decays=DECAYS, labels=LABELS, index=None, kind=dufm_objective):
    """F (r,), and the gradient as tensors like the parameters, also of what pads them."""
    layout = kind.DUFMLayout(network)
    index = torch.arange(network.replicas) if index is None else torch.tensor(index)
    flat = layout.gather(network)[index]
    gradient = torch.full_like(flat, 7.0)
    gradient[:, layout.per_entry(torch.ones(1, network.depth + 1))[0] == 0] = 0
    value = kind.DUFMObjective(network, layout, labels, decays, loss, index)(flat, gradient)
    twin = DUFM(
        depth=network.depth,
        width=[W.shape[2] for W in network.weights],
        activation=network.activation,
        init_scale=1.0,
        num_classes=network.num_classes,
        num_samples=len(labels),
        seeds=range(len(index)),
        dtype=flat.dtype,
    )
    layout.scatter(gradient, twin)
    return value, [p.detach() for p in twin.parameters()], gradient


def by_autograd(network, replica, loss, decays=DECAYS):
    """F and its gradient of one network, written out from the papers."""
    H, *Ws = parameters = [p.detach()[replica].clone().requires_grad_() for p in network.parameters()]
    x = H
    for W in Ws[:-1]:
        x = x @ W.T
        x = torch.relu(x) if network.activation == "relu" else x
    outputs = x @ Ws[-1].T
    if loss == "mse":
        fit = (outputs - torch.eye(K, dtype=H.dtype)[LABELS]).square().sum() / (2 * len(LABELS))
    else:
        fit = torch.nn.functional.cross_entropy(outputs, LABELS)
    F = fit + sum(lam / 2 * p.square().sum() for lam, p in zip(decays[replica], parameters, strict=True))
    return F.detach(), torch.autograd.grad(F, parameters)


def largest_error(kind=dufm_objective, **given):
    """Of value and gradient relative to autograd's, over losses and replicas; what pads has to be zero."""
    network, worst = ensemble(**given), 0.0
    for loss in ("mse", "ce"):
        value, gradients, flat = evaluated(network, loss, kind=kind)
        entries = sum(p[0].numel() for p in network.parameters())
        worst = max(worst, float(((flat != 0).sum(1) > entries).any()))
        for replica in range(R):
            F, expected = by_autograd(network, replica, loss)
            worst = max(worst, abs(float(value[replica] / F) - 1))
            for ours, theirs in zip(gradients, expected, strict=True):
                worst = max(worst, float((ours[replica] - theirs).abs().max() / theirs.abs().max()))
    return worst


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_value_and_gradient_are_those_of_autograd(activation, width):
    assert largest_error(activation=activation, width=width) < 1e-12
    assert largest_error(activation=activation, width=width, dtype=torch.float32) < 1e-4


def test_samples_are_rows_or_columns():
    assert [DUFMLayout(ensemble(width=width)).columns for width in (NARROW, WIDE)] == [True, False]


@pytest.mark.parametrize(("loss", "expected"), [("mse", 2.1), ("ce", 0.6 + math.log1p(math.exp(-3)))])
def test_two_samples_worked_by_hand(loss, expected):
    """h = 1, -1 and W = (2, -1): f = (2, -1), (-2, 1). Fit 6/4, penalties .05 * 2 and .1 * 5."""
    network = DUFM(
        depth=1,
        width=1,
        activation="linear",
        init_scale=1.0,
        num_classes=2,
        num_samples=2,
        seeds=[0],
        dtype=torch.float64,
    )
    with torch.no_grad():
        network.features.value.copy_(torch.tensor([[[1.0], [-1.0]]]))
        network.weights[0].copy_(torch.tensor([[[2.0], [-1.0]]]))
    decays = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    value, (dH, dW), _ = evaluated(network, loss, decays, torch.arange(2))
    assert float(value) == pytest.approx(expected, rel=1e-14)
    if loss == "mse":  # D = ((1, -1), (-2, 0))/2: dH = D W + .1 h, dW = D^T h + .2 W
        assert dH.flatten().tolist() == pytest.approx([1.5 + 0.1, -2.0 - 0.1], rel=1e-14)
        assert dW.flatten().tolist() == pytest.approx([1.5 + 0.4, -0.5 - 0.2], rel=1e-14)


def test_losses_of_logits_beyond_the_range_of_exp_are_finite():
    network = ensemble("linear")
    with torch.no_grad():
        for p in network.parameters():
            p *= 30
    value, gradients, _ = evaluated(network, "ce")
    assert value.isfinite().all()
    assert float(value[1]) == pytest.approx(float(by_autograd(network, 1, "ce")[0]), rel=1e-12)
    assert float(value[1]) > 1000
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [NARROW, WIDE, (20, 20, 20), (9, 16, 33)])
def test_a_replica_knows_neither_its_place_nor_the_others(width, dtype):
    for loss in ("mse", "ce"):
        value, _, gradient = evaluated(ensemble(width=width, dtype=dtype), loss)
        for chosen in ([0], [2], [3, 1], [1, 3, 0]):
            network = ensemble(width=width, dtype=dtype, replicas=chosen)
            alone, _, alone_gradient = evaluated(network, loss, DECAYS[chosen])
            part, _, part_gradient = evaluated(ensemble(width=width, dtype=dtype), loss, index=chosen)
            assert torch.equal(alone, value[chosen])
            assert torch.equal(part, value[chosen])
            assert torch.equal(alone_gradient, gradient[chosen])
            assert torch.equal(part_gradient, gradient[chosen])


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_the_layout_holds_every_parameter_once_and_aligned(width):
    network, other = ensemble(width=width), ensemble(width=width, replicas=range(4, 8))
    layout = DUFMLayout(network)
    flat = layout.gather(network)
    assert all(block.start * 8 % 64 == 0 for block in layout.blocks)
    assert layout.size * 8 % 64 == 0
    assert int((flat != 0).sum()) == sum(p.numel() for p in network.parameters())
    layout.scatter(flat, other)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gradient.add_(decayed)", "gradient.add_(decayed, alpha=2.0)"),
        ("torch.linalg.vecdot(decayed, flat) / 2", "torch.linalg.vecdot(decayed, flat)"),
        ("decays.to(like)[index]", "decays.to(like)[index - 1]"),
        ("decays.to(like)[index]", "decays.flip(1).to(like)[index]"),
        ("self.x.copy_(flat)", "self.x.copy_(flat.flip(0))"),
        ("features.mT if self.columns else features", "features"),
    ],
)
def test_planted_bugs_are_found(old, new, mutant):
    bad = mutant(dufm_objective, old, new)
    try:
        error = largest_error(kind=bad)
    except RuntimeError:  # shapes that do not fit
        return
    assert error > 1e-6


def test_planted_bugs_in_the_fit_are_found(mutant, monkeypatch):
    for old, new in (
        ("* self.scale).sum((1, 2)) / 2", "* self.scale).sum((1, 2))"),
        ("(f * self.Y).sum(1)", "f.amax(1)"),
        ("torch.logsumexp(f, 1)", "torch.logsumexp(f, 2, keepdim=False)[:, :1]"),
    ):
        bad = mutant(dufm_gradient, old, new)
        with monkeypatch.context() as patch:
            patch.setattr(dufm_objective, "FitGradient", bad.FitGradient)
            assert largest_error() > 1e-6
