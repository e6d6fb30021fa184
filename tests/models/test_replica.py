"""The ensemble: gradients by hand against autograd, replicas against single runs."""

import pytest
import torch

from ncbench.models.replica import DUFM, FullBatchGradient

K, N_PER_CLASS, WIDTH = 4, 3, 6
LABELS = torch.arange(K).repeat_interleave(N_PER_CLASS)


def ensemble(seeds, *, depth=3, activation="relu", dtype=torch.float64, scale=0.9):
    return DUFM(
        depth=depth,
        width=WIDTH,
        activation=activation,
        init_scale=scale,
        num_classes=K,
        num_samples=len(LABELS),
        seeds=seeds,
        dtype=dtype,
    )


def objective(model, loss, weight_decays, feature_decays):
    """The full objective of every replica, written out once more from the papers."""
    outputs = model(torch.arange(len(LABELS)))
    if loss == "mse":
        fit = (outputs - torch.eye(K, dtype=outputs.dtype)[LABELS]).square().sum((1, 2)) / (2 * len(LABELS))
    else:
        fit = torch.stack([torch.nn.functional.cross_entropy(o, LABELS) for o in outputs])
    penalty = feature_decays / 2 * model.features.value.square().sum((1, 2))
    for l, W in enumerate(model.weights):
        penalty = penalty + weight_decays[:, l] / 2 * W.square().sum((1, 2))
    return fit + penalty


@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gradients_equal_autograd(loss, activation, depth):
    model = ensemble(range(3), depth=depth, activation=activation)
    weight_decays = torch.rand(3, depth, dtype=torch.float64)
    feature_decays = torch.rand(3, dtype=torch.float64)
    FullBatchGradient(model, LABELS, loss=loss, weight_decays=weight_decays, feature_decays=feature_decays)()
    by_hand = [p.grad.clone() for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    objective(model, loss, weight_decays, feature_decays).sum().backward()
    for hand, parameter in zip(by_hand, model.parameters(), strict=True):
        assert torch.allclose(hand, parameter.grad, rtol=1e-12, atol=1e-14)


def test_gradient_of_one_entry_worked_by_hand():
    # One layer, K = 2 classes of one sample, H_1 = I, W = 0: f - Y = -I, so dW = -I/N + lam * 0 = -I/2.
    model = DUFM(depth=1, width=2, activation="relu", init_scale=1.0, num_classes=2, num_samples=2, seeds=[0])
    model.features.value.data = torch.eye(2)[None]
    model.weights[0].data.zero_()
    decays = torch.ones(1, 1), torch.full((1,), 3.0)
    FullBatchGradient(model, torch.tensor([0, 1]), loss="mse", weight_decays=decays[0], feature_decays=decays[1])()
    assert torch.equal(model.weights[0].grad, -torch.eye(2)[None] / 2)
    assert torch.equal(model.features.value.grad, 3 * torch.eye(2)[None])


def trained(model, steps, labels=LABELS):
    gradient = FullBatchGradient(
        model,
        labels,
        loss="mse",
        weight_decays=torch.full((model.replicas, model.depth), 2e-3),
        feature_decays=torch.full((model.replicas,), 2e-3),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(steps):
        gradient()
        optimizer.step()
    return model


@pytest.mark.parametrize("R", [1, 3, 8, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_replica_equals_its_own_run_at_one_thread(R, dtype, threads):
    threads(1)
    together = trained(ensemble(range(5, 5 + R), dtype=dtype), 200)
    for i in {0, R // 2, R - 1}:
        alone = trained(ensemble([5 + i], dtype=dtype), 200)
        for a, b in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.equal(a[i], b[0])


def at_the_size_of_dufm_k10(seeds):
    """The library multiplies matrices of this size by another routine than the tiny ones above."""
    sizes = dict(depth=4, width=20, activation="relu", init_scale=0.7, num_classes=10, num_samples=50)
    return trained(DUFM(**sizes, seeds=seeds), 300, labels=torch.arange(50) // 5)


def test_replica_equals_its_own_run_at_the_size_of_dufm_k10(threads):
    threads(1)
    together, alone = at_the_size_of_dufm_k10(range(33)), at_the_size_of_dufm_k10([32])
    assert all(torch.equal(a[32], b[0]) for a, b in zip(together.parameters(), alone.parameters(), strict=True))


def test_replica_equals_its_own_run_with_more_threads(threads):
    threads(2)
    together = trained(ensemble(range(8)), 1000)
    alone = trained(ensemble([7]), 1000)
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.linalg.norm(a[7] - b[0]) <= 1e-12 * torch.linalg.norm(b[0])


def test_initial_values():
    model = ensemble([3, 4], scale=0.7)
    generator = torch.Generator().manual_seed(4)
    H = torch.randn(len(LABELS), WIDTH, generator=generator, dtype=torch.float64) * 0.7 / WIDTH**0.5
    assert torch.allclose(model.features.value[1], H, rtol=1e-15)
    large = DUFM(depth=2, width=200, activation="relu", init_scale=0.7, num_classes=4, num_samples=300, seeds=[0])
    assert float(large.weights[0].detach().std()) == pytest.approx(0.7 / 200**0.5, rel=0.02)


def test_a_width_for_every_layer():
    sizes = dict(depth=3, activation="relu", init_scale=0.7, num_classes=4, num_samples=8, seeds=[0, 1])
    model = DUFM(width=[9, 3, 6], **sizes)
    assert model.features.value.shape == (2, 8, 9)
    assert [W.shape for W in model.weights] == [(2, 3, 9), (2, 6, 3), (2, 4, 6)]
    assert torch.allclose(model.as_linear(1)(torch.arange(8)), model(torch.arange(8))[1], atol=1e-6)


def test_one_replica_as_ordinary_modules():
    model = ensemble([1, 2])
    network = model.as_linear(1)
    indices = torch.arange(len(LABELS))
    assert torch.allclose(network(indices), model(indices)[1], rtol=1e-13)
    assert all(isinstance(layer.linear, torch.nn.Linear) for layer in network.head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "^depth=0 must be at least 1"),
        ({"width": 3}, r"^width=3 must be at least the number of classes \(4\)"),
        ({"width": [6]}, r"^width=\[6\] must be one number, or one for each of H_1 ... H_L \(2\)"),
        ({"width": [6, 3]}, r"^width=\[6, 3\] must be at least the number of classes \(4\)"),
        ({"width": [0, 6]}, r"^width=\[0, 6\] must be at least 1"),
        ({"activation": "gelu"}, "^activation=gelu must be relu or linear"),
        ({"seeds": []}, r"^seeds=\[\] must hold one seed for each replica"),
        ({"init_scale": [1.0, 2.0]}, r"^init_scale=\[1.0, 2.0\] must be one number"),
    ],
)
def test_bad_arguments(change, message):
    good = dict(depth=2, width=6, activation="relu", init_scale=0.7, num_classes=4, num_samples=8, seeds=[0])
    with pytest.raises(ValueError, match=message):
        DUFM(**{**good, **change})


def test_entries_of_the_same_deviation_whatever_the_width():
    """init_rule=entry: N(0, g^2) for every entry; fan_in divides the same draws by the square root of the width."""
    shape = {"depth": 2, "width": 16, "activation": "linear", "num_classes": K, "num_samples": len(LABELS)}
    by_entry = DUFM(**shape, init_scale=0.5, init_rule="entry", seeds=[3], dtype=torch.float64)
    by_fan_in = DUFM(**shape, init_scale=0.5, seeds=[3], dtype=torch.float64)
    for entry, fan_in in zip(by_entry.parameters(), by_fan_in.parameters(), strict=True):
        assert torch.allclose(entry, 4.0 * fan_in, rtol=1e-15)
    draw = torch.randn(len(LABELS), 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.equal(by_entry.features.value[0], 0.5 * draw)
    with pytest.raises(ValueError, match="init_rule=xavier must be fan_in or entry"):
        DUFM(**shape, init_scale=0.5, init_rule="xavier", seeds=[3])
