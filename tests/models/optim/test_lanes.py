"""The engine with replicas in lanes: worked by hand, against autograd, and the same bits however it is arranged."""

import math

import pytest
import torch
from torch import Tensor

from ncbench.models.replica import DUFM, FullBatchDescent
from ncbench.models.replica.optim.lanes import LaneDescent

SMALL = {"block": (2, 2)}  # quick to compile
WIDTHS = [7, 5, 6]


def _network(seeds, activation="relu", dtype=torch.float64):
    return DUFM(
        depth=3,
        width=WIDTHS,
        activation=activation,
        init_scale=0.9,
        num_classes=4,
        num_samples=11,
        seeds=seeds,
        dtype=dtype,
    )


LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3])


def _problem(seeds, loss="mse", momentum=0.9, highest=0.2):
    """Decays and rates of their own for every replica, by its seed."""
    draw = torch.rand(100, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)[list(seeds)]
    rates = 0.05 + (highest - 0.05) * draw[:, 4]
    decays = {"weight_decays": 4e-3 * draw[:, :3], "feature_decays": 4e-3 * draw[:, 3]}
    return {"loss": loss, "rates": rates, "momentum": momentum, **decays}


def _trained(seeds, steps=(60,), engine=LaneDescent, dtype=torch.float64, activation="relu", arranged=None, **problem):
    """The parameters and momenta after so many calls of `advance`, each with an engine of its own; and the norms."""
    network, everyone = _network(seeds, activation, dtype), torch.arange(len(seeds))
    momenta = [torch.zeros_like(p) for p in network.parameters()]
    for count in steps:
        descent = engine(network, LABELS, **_problem(seeds, **problem), **(arranged or {}))
        descent.advance(count, momenta if problem.get("momentum", 0.9) else [], everyone)
    return [*(p.detach() for p in network.parameters()), *momenta], descent.norms(everyone)


def _same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _one(values, label, loss, rate, decay, activation="relu"):
    """One step without momentum of a network of one replica with these matrices."""
    matrices = [torch.tensor(value, dtype=torch.float64) for value in values]
    widths = [W.shape[1] for W in matrices[1:]]
    shape = {"num_classes": len(matrices[-1]), "num_samples": len(matrices[0]), "seeds": [0]}
    network = DUFM(depth=len(widths), width=widths, activation=activation, init_scale=1.0, dtype=torch.float64, **shape)
    for p, value in zip(network.parameters(), matrices, strict=True):
        p.data[0] = value
    decays = torch.full((1, len(widths)), decay), torch.full((1,), decay)
    arguments = {"loss": loss, "weight_decays": decays[0], "feature_decays": decays[1], "momentum": 0.0, **SMALL}
    descent = LaneDescent(network, torch.tensor(label), rates=torch.full((1,), rate), **arguments)
    norms = descent.norms(torch.arange(1))
    descent.advance(1, [], torch.arange(1))
    return [p.detach()[0].tolist() for p in network.parameters()], norms[:, 0].tolist()


def test_one_step_of_squared_error_by_hand():
    # H_2 = 6, f = 3, D_2 = 2, G of W_2 = 12, D_1 = 2/2 = 1, G of W_1 = 2, G of H_1 = 3; the penalties' .2, .3, .05.
    after, norms = _one([[[2.0]], [[3.0]], [[0.5]]], [0], "mse", rate=1 / 64, decay=1 / 8)
    gradients = [3 + 2 / 8, 2 + 3 / 8, 12 + 0.5 / 8]
    assert [x[0][0] for x in after] == [start - g / 64 for start, g in zip([2, 3, 0.5], gradients, strict=True)]
    squares = [9, 4 + 9 + 0.25, 9 + 4 + 144, (4 + 9 + 0.25) / 64, sum(g * g for g in gradients)]
    assert norms == pytest.approx([math.sqrt(x) for x in squares], rel=1e-15)


def test_a_unit_that_does_not_fire_passes_nothing_on():
    after, _ = _one([[[2.0]], [[-3.0]], [[0.5]]], [0], "mse", rate=1 / 64, decay=0.0)
    assert after == [[[2.0]], [[-3.0]], [[0.5]]]
    after, _ = _one([[[2.0]], [[-3.0]], [[0.5]]], [0], "mse", rate=1 / 64, decay=0.0, activation="linear")
    # f = -3, D_2 = -4, D_1 = -2.
    assert after == [[[2.0 - 6 / 64]], [[-3.0 + 4 / 64]], [[0.5 - 24 / 64]]]


def test_one_step_of_cross_entropy_by_hand():
    # softmax(log 3, 0) = (3/4, 1/4), so D = (-1/4, 1/4) for a sample of the first class.
    after, _ = _one([[[1.0]], [[math.log(3)], [0.0]]], [0], "ce", rate=1.0, decay=0.0)
    assert after[0][0][0] == pytest.approx(1 + math.log(3) / 4, rel=1e-15)
    assert [row[0] for row in after[1]] == pytest.approx([math.log(3) + 0.25, -0.25], rel=1e-15)


def _by_autograd(seeds, steps, loss, activation, momentum) -> list[Tensor]:
    network, problem = _network(seeds, activation), _problem(seeds, loss, momentum)
    parameters = [p.detach().clone().requires_grad_() for p in network.parameters()]
    decays = [problem["feature_decays"], *problem["weight_decays"].unbind(1)]
    momenta = [torch.zeros_like(p) for p in parameters]
    for _ in range(steps):
        x = parameters[0]
        for W in parameters[1:-1]:
            x = x @ W.mT
            x = torch.relu(x) if activation == "relu" else x
        f = x @ parameters[-1].mT
        if loss == "mse":
            fit = (f - torch.nn.functional.one_hot(LABELS, 4)).square().sum() / (2 * len(LABELS))
        else:
            fit = -torch.log_softmax(f, 2)[:, torch.arange(len(LABELS)), LABELS].sum() / len(LABELS)
        whole = fit + sum((d / 2 * p.square().sum((1, 2))).sum() for d, p in zip(decays, parameters, strict=True))
        gradients = torch.autograd.grad(whole, parameters)
        with torch.no_grad():
            for p, m, g in zip(parameters, momenta, gradients, strict=True):
                m.mul_(momentum).add_(g)
                p.sub_(problem["rates"][:, None, None] * m)
    return [p.detach() for p in parameters]


@pytest.mark.parametrize(
    ("loss", "activation", "momentum"),
    [("mse", "relu", 0.9), ("ce", "relu", 0.0), ("mse", "linear", 0.0), ("ce", "linear", 0.9)],
)
def test_a_thousand_steps_are_those_of_autograd(loss, activation, momentum):
    seeds = [1, 2, 5]
    expected = _by_autograd(seeds, 1000, loss, activation, momentum)
    found, norms = _trained(seeds, (1000,), activation=activation, loss=loss, momentum=momentum, arranged=SMALL)
    for x, y in zip(found, expected, strict=False):
        assert (x - y).abs().max() <= 1e-10
    _, of_torch = _trained(seeds, (1000,), FullBatchDescent, activation=activation, loss=loss, momentum=momentum)
    torch.testing.assert_close(norms, of_torch, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_a_replicas_bits_do_not_depend_on_its_company_or_on_interruptions(loss):
    seeds = [*range(20)]
    whole, norms = _trained(seeds, loss=loss, arranged=SMALL)
    alone, norms_alone = _trained([13], loss=loss, arranged=SMALL)
    assert _same([x[13:14] for x in whole], alone)
    assert torch.equal(norms[:, 13:14], norms_alone)
    turned, _ = _trained(seeds[::-1], (23, 37), loss=loss, arranged={**SMALL, "threads": 2})
    assert _same(whole, [x.flip(0) for x in turned])


def test_neither_lanes_nor_blocks_nor_tiles_change_a_bit():
    seeds = [*range(5)]
    whole, norms = _trained(seeds, loss="ce", arranged={"block": (2, 2), "tile": 11})
    for arranged in ({"block": (2, 2), "tile": 3}, {"lanes": 2, "block": (3, 2), "tile": 5}):
        other, other_norms = _trained(seeds, loss="ce", arranged=arranged)
        assert _same(whole, other)
        assert torch.equal(norms, other_norms)


def test_float32_is_float64_rounded():
    seeds = [*range(17)]
    found, _ = _trained(seeds, (50,), dtype=torch.float32, arranged={**SMALL, "lanes": 16})
    expected, _ = _trained(seeds, (50,), dtype=torch.float64, arranged=SMALL)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=0, atol=2e-4)


def test_a_replica_that_diverges_does_not_disturb_its_neighbours():
    seeds = [*range(8)]
    network, problem = _network(seeds), _problem(seeds)
    problem["rates"][3] = 1e6
    descent = LaneDescent(network, LABELS, **problem, **SMALL)
    momenta = [torch.zeros_like(p) for p in descent.parameters]
    descent.advance(60, momenta, torch.arange(8))
    assert not descent.parameters[0][3].isfinite().all()
    undisturbed, _ = _trained(seeds, arranged=SMALL)
    others = [i for i in seeds if i != 3]
    assert _same([x[others] for x in (*descent.parameters, *momenta)], [x[others] for x in undisturbed])


def test_replicas_that_are_not_named_stand_still():
    network = _network([0, 1, 2])
    before = [p.detach().clone() for p in network.parameters()]
    descent = LaneDescent(network, LABELS, **_problem([0, 1, 2]), **SMALL)
    descent.advance(5, [torch.zeros_like(p) for p in before], torch.tensor([2, 0]))
    for x, y in zip(before, descent.parameters, strict=True):
        assert torch.equal(x[1], y[1])
        assert not torch.equal(x[0], y[0])


def test_work_that_is_stopped_leaves_the_parameters_of_its_beginning():
    network = _network([0])
    before = [p.detach().clone() for p in network.parameters()]
    descent = LaneDescent(network, LABELS, **_problem([0]), **SMALL)
    descent._workers.stopped = True
    descent.advance(5, [torch.zeros_like(p) for p in before], torch.arange(1))
    assert _same(before, descent.parameters)


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="loss=hinge must be mse or ce"):
        LaneDescent(_network([0]), LABELS, **_problem([0], "hinge"))
    with pytest.raises(ValueError, match="float16 on cpu must be float32 or float64 on cpu"):
        LaneDescent(_network([0], dtype=torch.float16), LABELS, **_problem([0]))
