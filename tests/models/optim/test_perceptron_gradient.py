"""The regularised squared error of an ensemble: against autograd, by hand, and replica by replica bit for bit."""

import itertools

import pytest
import torch

from ncbench.models.replica import Layout, Perceptron, SquaredError
from ncbench.models.replica.optim import perceptron_gradient as squared

R, N, D, C = 3, 7, 4, 2
DRAW = torch.Generator().manual_seed(0)
INPUTS, TARGETS = (torch.randn(R, N, width, generator=DRAW, dtype=torch.float64) for width in (D, C))
ACTS = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.1 * x),
    "tanh": torch.tanh,
}
KINDS = list(itertools.product(ACTS, [False, True], [True, False], [1, 2, 4], [True, False]))


def ensemble(activation="tanh", residual=False, biases=True, depth=4, **changes):
    options = dict(width=5, num_outputs=C, inputs=INPUTS, seeds=[3, 4, 5], init_scale=[0.8, 1.0, 1.2])
    model = Perceptron(depth=depth, activation=activation, residual=residual, biases=biases, **{**options, **changes})
    for replica, seed in enumerate(options["seeds"] if "seeds" not in changes else changes["seeds"]):
        generator = torch.Generator().manual_seed(100 + seed)  # biases that are not zero, and know their replica only
        for b in model.biases:
            if b is not None:
                b.data[replica] = torch.randn(b.shape[1], generator=generator, dtype=torch.float64).to(b.dtype)
    return model


def decays_of(depth, replicas=R):
    return torch.linspace(0.01, 0.4, replicas * depth, dtype=torch.float64).reshape(replicas, depth)


def by_autograd(model, replica, inputs, targets, decays):
    """F and its gradient by layer (weights, biases) of one replica in float64, written out once more from the paper."""
    parameters = [
        (
            W.detach()[replica].double().requires_grad_(),
            None if b is None else b.detach()[replica].double().requires_grad_(),
        )
        for W, b in zip(model.weights, model.biases, strict=True)
    ]
    of = lambda rows: rows[replica if len(rows) > 1 else 0].double()  # noqa: E731
    z = of(inputs)
    for layer, (W, b) in zip(model.layers, parameters, strict=True):
        out = ACTS[layer.kind](z @ W.T if b is None else z @ W.T + b)
        z = z + out if layer.residual else out
    value = (z - of(targets)).square().sum(1).mean()
    for lam, of_layer in zip(decays[replica], parameters, strict=True):
        value = value + lam * sum(p.square().sum() for p in of_layer if p is not None)
    value.backward()
    return float(value.detach()), [[None if p is None else p.grad for p in of_layer] for of_layer in parameters]


def evaluated(model, inputs, targets, decays, index=None, kind=squared, **options):
    """F of the replicas `index`, and the gradient as the parameters of a copy of the layout."""
    layout = kind.Layout(model)
    chosen = torch.arange(model.replicas) if index is None else torch.tensor(index)
    problem = kind.SquaredError(model, layout, inputs, targets, decays, chosen, **options)
    flat = layout.gather(model)[chosen].to(options.get("dtype") or model.weights[0].dtype)
    gradient = torch.zeros_like(flat)
    value = problem(flat, gradient)
    blocks = [
        [None if b is None else b.of(gradient) for b in pair]
        for pair in zip(layout.weights, layout.biases, strict=True)
    ]
    return value, blocks


def largest_error(model, inputs=INPUTS, targets=TARGETS, kind=squared, **options):
    """Of values and gradients, relative to the norm of the gradient of each matrix."""
    decays, worst = decays_of(model.depth), 0.0
    values, gradients = evaluated(model, inputs, targets, decays, kind=kind, **options)
    for replica in range(R):
        value, expected = by_autograd(model, replica, inputs, targets, decays)
        worst = max(worst, abs(float(values[replica]) - value) / value)
        for ours, theirs in zip(gradients, expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert (a is None) == (b is None)
                if a is not None and b is not None:
                    worst = max(worst, float((a[replica] - b).norm() / b.norm()))
    return worst


@pytest.mark.parametrize(("activation", "residual", "biases", "depth", "shared"), KINDS)
def test_value_and_gradient_equal_autograd(activation, residual, biases, depth, shared):
    inputs, targets = (INPUTS[:1], TARGETS[:1]) if shared else (INPUTS, TARGETS)
    model = ensemble(activation, residual, biases, depth, inputs=inputs)
    assert largest_error(model, inputs, targets) <= 1e-12


@pytest.mark.parametrize("first", list(ACTS))
def test_a_first_activation_of_its_own(first):
    assert largest_error(ensemble("leaky_relu", first_activation=first)) <= 1e-12
    assert largest_error(ensemble("tanh", True, first_activation=first)) <= 1e-12


def test_nothing_is_carried_from_one_call_to_the_next():
    model = ensemble("leaky_relu", True)
    layout = Layout(model)
    problem = SquaredError(model, layout, INPUTS, TARGETS, decays_of(4), torch.arange(R))
    flat = layout.gather(model)
    first, second = torch.zeros_like(flat), torch.zeros_like(flat)
    value = problem(flat, first)
    problem(1.5 * flat, second)
    assert not torch.equal(first, second)
    assert torch.equal(problem(flat, second), value)
    assert torch.equal(second, first)
    assert torch.equal(first != 0, flat != 0)  # what pads the matrices stays zero


def one(*values):
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


def with_values(model, *values):
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.data.fill_(value)
    return model


def test_one_layer_worked_by_hand():
    # f = 3 x + 1 on x = 2, -1 and y = 1, 0: errors 6, -2, fit (36 + 4)/2; F = 20 + (9 + 1)/2;
    # dw = 6 * 2 + (-2)(-1) + 2 * 3/2 = 17, db = 6 - 2 + 2 * 1/2 = 5.
    model = Perceptron(depth=1, width=[], activation="tanh", inputs=one(2.0, -1.0), num_outputs=1, seeds=[0])
    value, ((dw, db),) = evaluated(
        with_values(model, 3.0, 1.0), one(2.0, -1.0), one(1.0, 0.0), torch.full((1, 1), 0.5, dtype=torch.float64)
    )
    assert (float(value), float(dw), float(db)) == (25.0, 17.0, 5.0)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        # w_1 = 2, w_2 = -1, lam = .1, delta = 10, so lam_1 = 1. x = 1: z = 2, f = -2, error -5 for y = 3;
        # F = 25 + 4 + .1, dw_1 = 2 (-5)(-1) 1 + 2 * 2 = 14, dw_2 = 2 (-5) 2 - .2.
        (1.0, 3.0, (29.1, 14.0, -20.2)),
        # x = -1: z = -.2, f = .2, error 1 for y = -.8: dw_1 = 2 (-1)(.1)(-1) + 4, dw_2 = 2 (-.2) - .2.
        (-1.0, -0.8, (5.1, 4.2, -0.6)),
    ],
)
def test_two_layers_worked_by_hand(x, y, expected):
    model = Perceptron(depth=2, width=1, activation="leaky_relu", inputs=one(x), num_outputs=1, seeds=[0], biases=False)
    decays = torch.tensor([[1.0, 0.1]], dtype=torch.float64)
    value, ((dw_1, _), (dw_2, _)) = evaluated(with_values(model, 2.0, -1.0), one(x), one(y), decays)
    assert [float(v) for v in (value, dw_1, dw_2)] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gradient.add_(decayed, alpha=2.0)", "gradient.add_(decayed)"),
        ("fit + torch.linalg.vecdot(decayed, flat)", "fit + torch.linalg.vecdot(decayed, flat) / 2"),
        ("layout.per_entry(decays.to(like)[index])", "layout.per_entry(decays.flip(1).to(like)[index])"),
        ("layout.per_entry(decays.to(like)[index])", "layout.per_entry(decays.to(like)[index - 1])"),
        ("enumerate(pairs)", "enumerate(pairs, -1)"),
        ("self.weight[:N] = 2 / N", "self.weight[:N] = 1 / N"),
        ("self.weight[:N] = 2 / N", "self.weight[:N] = 2 / width"),
        ("self.weight[:N] = 2 / N", "self.weight[:] = 2 / N"),
        ("below.add_(carried) if self.residual[l]", "below if self.residual[l]"),
        ("torch.add(self.Z[l], pre, out=self.Z[l + 1])", "self.Z[l + 1].copy_(pre)"),
        ('LEAK if kind == "leaky_relu" else 0.0', "0.0"),
        ("_columns(targets.to(like), index)", "_columns(targets.to(like), index - 1)"),
        ("block.of(gradient).copy_(D.sum(2))", "block.of(gradient).copy_(carried.sum(2))"),
    ],
)
def test_planted_bugs_are_found(old, new, mutant):
    bad = mutant(squared, old, new)
    models = [ensemble("leaky_relu", True), ensemble("tanh", False)]
    assert max(largest_error(model, kind=bad) for model in models) > 1e-6


SIZES = [
    dict(width=5, dims=(4, 2), samples=7),
    dict(width=16, dims=(20, 20), samples=200),
    dict(width=[9, 16, 3], dims=(11, 5), samples=33),
    dict(width=64, dims=(24, 4), samples=20),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size["width"]))
def test_a_replica_knows_neither_its_place_nor_the_others(size, shared, dtype):
    count, (d, c) = 9, size["dims"]
    generator = torch.Generator().manual_seed(2)
    rows = 1 if shared else count
    x, y = (torch.randn(rows, size["samples"], k, generator=generator, dtype=torch.float64) for k in (d, c))
    decays = decays_of(4, count)

    def of(chosen, index=None):
        mine = [0] if shared else chosen
        model = ensemble(
            width=size["width"],
            inputs=x[mine],
            num_outputs=c,
            seeds=[10 + i for i in chosen],
            init_scale=1.0,
            dtype=dtype,
        )
        value, gradients = evaluated(model, x[mine], y[mine], decays[chosen], index)
        return value, [g for pair in gradients for g in pair]

    value, gradients = of(list(range(count)))
    for chosen, index in [([i], None) for i in range(count)] + [
        ([8, 2, 5], None),
        ([3, 4, 5, 6], None),
        (list(range(count)), [7, 1, 2]),
    ]:
        ours, mine = of(chosen, index)
        places = torch.tensor(chosen)[index or slice(None)]
        assert torch.equal(ours, value[places])
        assert all(torch.equal(a, b[places]) for a, b in zip(mine, gradients, strict=True))


def test_a_replica_of_nans_stays_alone():
    model, clean = ensemble(), ensemble()
    model.weights[1].data[1, 0, 0] = float("nan")
    (value, gradients), (expected, of_clean) = (evaluated(m, INPUTS, TARGETS, decays_of(4)) for m in (model, clean))
    assert value.isnan().tolist() == [False, True, False]
    assert torch.equal(value[[0, 2]], expected[[0, 2]])
    for ours, theirs in zip(gradients, of_clean, strict=True):
        assert all(torch.equal(a[[0, 2]], b[[0, 2]]) for a, b in zip(ours, theirs, strict=True))


def test_single_precision_and_double_on_request():
    model = ensemble(dtype=torch.float32)
    value, gradients = evaluated(model, INPUTS, TARGETS, decays_of(4))
    assert value.dtype == gradients[0][0].dtype == torch.float32
    assert 1e-9 < largest_error(model) <= 1e-5
    # In double precision it is F at the rounded weights, on the inputs as they are.
    value, gradients = evaluated(model, INPUTS, TARGETS, decays_of(4), dtype=torch.float64)
    assert value.dtype == gradients[0][0].dtype == torch.float64
    assert largest_error(model, dtype=torch.float64) <= 1e-12
    assert torch.equal(model.features.value, INPUTS.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("biases", [True, False])
def test_the_layout_holds_every_parameter_once_and_aligned(biases, dtype):
    model = ensemble("relu", biases=biases, width=[5, 3, 9], dtype=dtype)
    layout = Layout(model)
    flat = layout.gather(model)
    blocks = [b for b in (*layout.weights, *layout.biases) if b is not None]
    assert all(block.start * flat.element_size() % 64 == 0 for block in blocks)
    assert layout.size * flat.element_size() % 64 == 0
    assert int((flat != 0).sum()) == sum(p.numel() for p in model.parameters())
    other = ensemble("relu", biases=biases, width=[5, 3, 9], dtype=dtype, seeds=[7, 8, 9])
    layout.scatter(flat, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    per_layer = torch.arange(1, R * 4 + 1, dtype=torch.float64).reshape(R, 4)
    spread = layout.per_entry(per_layer)
    assert torch.equal(spread != 0, flat != 0)
    for l, pair in enumerate(zip(layout.weights, layout.biases, strict=True)):
        for block in pair:
            if block is not None:
                assert all(bool((block.of(spread)[r] == per_layer[r, l]).all()) for r in range(R))
