"""The ensemble of fully connected networks against a loop by hand, its initial values, and one network of it."""

import itertools
import math

import pytest
import torch

from ncbench.models.replica import Perceptron, perceptron

R, N, D, C = 3, 7, 4, 2
INPUTS = torch.randn(R, N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EVERY = torch.arange(N)
SCALARS = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.1 * x,
    "tanh": math.tanh,
}
KINDS = list(itertools.product(SCALARS, [False, True], [True, False], [None, "linear"]))


def ensemble(activation="tanh", residual=False, biases=True, first=None, *, kind=Perceptron, **changes):
    options = dict(depth=4, width=5, num_outputs=C, inputs=INPUTS, seeds=[3, 4, 5], init_scale=[0.8, 1.0, 1.2])
    options |= dict(activation=activation, first_activation=first, residual=residual, biases=biases)
    return kind(**{**options, **changes})


def with_biases(model):
    """The same ensemble with biases that are not zero."""
    generator = torch.Generator().manual_seed(1)
    for b in model.biases:
        if b is not None:
            b.data = torch.randn(b.shape, generator=generator, dtype=torch.float64).to(b.dtype)
    return model


def by_hand(model, replica, sample, activation, residual, first):
    """The outputs of one replica on one sample, entry by entry, from the paper's equations."""
    z = INPUTS[replica, sample].tolist()
    for l, (W, b) in enumerate(zip(model.weights, model.biases, strict=True), 1):
        kind = activation
        if l == 1:
            kind = first or ("linear" if residual else activation)
        if l == model.depth:
            kind = "linear"
        rows = W[replica].tolist()
        shift = [0.0] * len(rows) if b is None else b[replica].tolist()
        out = [
            SCALARS[kind](sum(w * x for w, x in zip(row, z, strict=True)) + s)
            for row, s in zip(rows, shift, strict=True)
        ]
        z = [a + o for a, o in zip(z, out, strict=True)] if residual and 1 < l < model.depth else out
    return z


def largest_error(model, activation, residual, first):
    outputs = model(EVERY).detach()
    expected = [[by_hand(model, r, i, activation, residual, first) for i in range(N)] for r in range(R)]
    return float((outputs - torch.tensor(expected, dtype=torch.float64)).abs().max())


@pytest.mark.parametrize(("activation", "residual", "biases", "first"), KINDS)
def test_the_forward_pass_equals_a_loop_and_ordinary_modules(activation, residual, biases, first):
    model = with_biases(ensemble(activation, residual, biases, first))
    assert largest_error(model, activation, residual, first) <= 1e-13
    for replica in range(R):
        plain = model.as_linear(replica)
        assert torch.allclose(plain(EVERY), model(EVERY)[replica], rtol=1e-13, atol=1e-14)
        found = [m for m in plain.modules() if isinstance(m, torch.nn.Linear)]
        assert [m.weight.shape for m in found] == [W.shape[1:] for W in model.weights]
        assert all((m.bias is not None) == biases for m in found)


def test_worked_by_hand():
    # x = 2, W_1 = 1 and b_1 = -1 (linear), W_2 = -3 (leaky), W_3 = 2, b_3 = 1; with a skip connection at layer 2:
    # z^1 = 1, z^2 = 1 + leaky(-3) = 1 - .3 = .7, f = 1.4 + 1.
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    model = Perceptron(
        depth=3, width=1, activation="leaky_relu", inputs=2 * one, num_outputs=1, seeds=[0], residual=True
    )
    for parameter, value in zip(model.parameters(), [1.0, -1.0, -3.0, 0.0, 2.0, 1.0], strict=True):
        parameter.data.fill_(value)
    assert float(model(torch.tensor([0])).detach()) == pytest.approx(2.4, rel=1e-15)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return inputs + outputs if self.residual", "return outputs if self.residual"),
        ("residual=residual and 1 < l < depth", "residual=residual and 1 < l"),
        ('("linear" if residual else activation)', "activation"),
        ('*[activation] * (depth - 2), "linear"]', "*[activation] * (depth - 1)]"),
        ("LEAK = 0.1", "LEAK = 0.01"),
        ("product + self.bias[:, None]", "product - self.bias[:, None]"),
    ],
)
def test_planted_bugs_are_found(old, new, mutant):
    bad = mutant(perceptron, old, new).Perceptron
    errors = []
    for activation, residual in (("leaky_relu", True), ("tanh", False)):
        model = with_biases(
            ensemble(activation, residual, kind=bad, num_outputs=5)
        )  # as many as the last layer's inputs
        errors.append(largest_error(model, activation, residual, None))
    assert max(errors) > 1e-3


def test_samples_are_chosen_by_index_and_inputs_may_be_shared():
    model = ensemble()
    chosen = torch.tensor([5, 0, 5])
    assert torch.allclose(model(chosen), model(EVERY)[:, chosen], rtol=1e-14)
    shared, own = ensemble(inputs=INPUTS[:1]), ensemble(inputs=INPUTS[:1].expand(R, -1, -1))
    assert shared.features(EVERY).shape == (R, N, D)
    assert torch.equal(shared(EVERY), own(EVERY))
    assert torch.allclose(shared.as_linear(2)(EVERY), shared(EVERY)[2], rtol=1e-14)


def test_the_initial_values_are_those_of_the_seed_and_the_scale():
    model, sizes = ensemble(), [(5, D), (5, 5), (5, 5), (C, 5)]
    for replica, (seed, scale) in enumerate([(3, 0.8), (4, 1.0), (5, 1.2)]):
        generator = torch.Generator().manual_seed(seed)
        for W, size in zip(model.weights, sizes, strict=True):
            expected = torch.randn(size, generator=generator, dtype=torch.float64) * scale / size[1] ** 0.5
            assert torch.allclose(W[replica], expected, rtol=1e-14, atol=0)
    assert not any(b.detach().any() for b in model.biases)
    large = ensemble(width=[300, 200, 5], init_scale=0.7).weights
    assert float(large[1].detach().std()) == pytest.approx(0.7 / 300**0.5, rel=0.02)
    assert torch.equal(ensemble(init_scale=None).weights[2], ensemble(init_scale=1.0).weights[2])


def test_the_initial_values_know_neither_the_other_replicas_nor_the_dtype():
    model = ensemble()
    for replica in range(R):
        alone = ensemble(inputs=INPUTS[:1], seeds=[3 + replica], init_scale=[0.8, 1.0, 1.2][replica])
        assert all(torch.equal(W[replica], V[0]) for W, V in zip(model.weights, alone.weights, strict=True))
    single = ensemble(dtype=torch.float32)
    assert single(EVERY).dtype == torch.float32
    assert all(torch.equal(W.float(), V) for W, V in zip(model.weights, single.weights, strict=True))


def test_a_width_for_every_hidden_layer_and_one_layer_alone():
    assert [W.shape for W in ensemble(width=[6, 3, 9]).weights] == [(R, 6, D), (R, 3, 6), (R, 9, 3), (R, C, 9)]
    linear = ensemble(depth=1, width=[])
    assert [W.shape for W in linear.weights] == [(R, C, D)]
    assert [layer.kind for layer in ensemble(depth=1, activation="tanh").layers] == ["linear"]
    assert [layer.kind for layer in ensemble(depth=2, first="relu").layers] == ["relu", "linear"]


def test_which_networks_are_a_product_of_matrices():
    assert ensemble("linear", biases=False).linear_product
    assert ensemble("tanh", biases=False, depth=1).linear_product
    for other in (ensemble("linear"), ensemble("linear", True, False), ensemble("linear", False, False, "tanh")):
        assert not other.linear_product


def test_the_inputs_are_no_part_of_the_checkpoint():
    expected = {f"head.{l}.linear.{kind}" for l in range(1, 5) for kind in ("weight", "bias")}
    assert set(ensemble().state_dict()) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "^depth=0 must be at least 1, the number of weight matrices"),
        ({"width": 0}, r"^width=0 must be one number >= 1, or one for each hidden layer \(3\)"),
        ({"width": [5, 5]}, r"^width=\[5, 5\] must be one number >= 1, or one for each hidden layer \(3\)"),
        (
            {"width": [5, 4, 5], "residual": True},
            r"^width=\[5, 4, 5\] must be the same for all hidden layers where residual=True",
        ),
        ({"activation": "gelu"}, "^activation=gelu must be one of linear, relu, leaky_relu, tanh"),
        ({"first_activation": "gelu"}, "^first_activation=gelu must be one of linear"),
        ({"seeds": []}, r"inputs of 3 replicas must be one set for all, or one for each seed \(0\)"),
        ({"seeds": [1, 2]}, r"inputs of 3 replicas must be one set for all, or one for each seed \(2\)"),
        ({"init_scale": [1.0, 2.0]}, r"^init_scale=\[1.0, 2.0\] must be one number, or one for each replica \(3\)"),
    ],
)
def test_bad_arguments(change, message):
    good = dict(depth=4, width=5, activation="tanh", inputs=INPUTS, num_outputs=C, seeds=[0, 1, 2])
    with pytest.raises(ValueError, match=message):
        Perceptron(**{**good, **change})
