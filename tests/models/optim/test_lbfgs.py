"""L-BFGS on several problems at once: by hand, against scipy and the two loops, and each problem on its own."""

import numpy as np
import pytest
import scipy.optimize
import torch

from ncbench.models.replica import Layout, LBFGSState, Perceptron, SquaredError
from ncbench.models.replica.optim import lbfgs
from ncbench.models.replica.optim.lbfgs_state import CONVERGED, RUNNING, STALLED

A, B = torch.tensor([[4.0, 1.0], [1.0, 3.0]]).double(), torch.tensor([1.0, 2.0]).double()
DRAW = torch.Generator().manual_seed(0)
INPUTS, TARGETS = (torch.randn(5, 12, width, generator=DRAW, dtype=torch.float64) for width in (3, 2))
DECAYS = torch.linspace(0.01, 0.05, 5, dtype=torch.float64)[:, None].expand(5, 2)
SAME = 64 * 2.0**-52  # values of F that differ by this factor of |F| are the same


def quadratic(x):
    """1/2 x.A x - b.x."""
    return (x @ A * x).sum(1) / 2 - x @ B


def rosenbrock(x):
    return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2


def convex(x):
    return torch.logsumexp(torch.cat([x @ A, -x], 1), 1) + 0.05 * x.square().sum(1)


def well(x):
    """Flat far away: a long step comes to rest higher than it began."""
    return 1 - torch.exp(-x.square().sum(1))


def with_gradient(values):
    """A problem as `minimise` wants it, from values (r, P) -> (r,) by autograd."""

    def problem(flat, gradient):
        with torch.enable_grad():
            x = flat.clone().requires_grad_()
            found = values(x)
            gradient.copy_(torch.autograd.grad(found.sum(), x)[0])
        return found.detach()

    return problem


def begun(start, memory=20):
    """What `minimise` takes of minimisations that begin at `start` (r, P)."""
    x = torch.as_tensor(start, dtype=torch.float64)
    state = LBFGSState(len(x), x.shape[1], memory, x.dtype)
    state.restart(x)
    return state.take(torch.arange(len(x)))


def minimised(values, start, rounds=300, tolerance=1e-12):
    """What the state holds after so many rounds from `start` (r, P)."""
    local = begun(start)
    lbfgs.minimise(local, with_gradient(values), rounds, tolerance)
    return local


def test_a_quadratic_worked_by_hand():
    # A x = b: x = (1, 7)/11, and there F = -b.x/2 = -15/22.
    found = minimised(quadratic, [[5.0, -3.0], [0.0, 0.0]])
    assert found["code"].tolist() == [CONVERGED] * 2
    assert found["x"].flatten().tolist() == pytest.approx([1 / 11, 7 / 11] * 2, rel=1e-12)
    assert found["f"].tolist() == pytest.approx([-15 / 22] * 2, rel=1e-14)


def of_network(i):
    """One tanh network: its layout, its start (1, P) and its problem."""
    model = Perceptron(depth=2, width=3, activation="tanh", inputs=INPUTS[i, None], num_outputs=2, seeds=[10 + i])
    layout = Layout(model)
    problem = SquaredError(model, layout, INPUTS[i, None], TARGETS[i, None], DECAYS[i, None], torch.tensor([0]))
    return layout, layout.gather(model), problem


def by_scipy(problem, start):
    def both(x):
        gradient = torch.zeros(1, len(x), dtype=torch.float64)
        value = problem(torch.from_numpy(x)[None], gradient)
        return float(value), gradient[0].numpy()

    options = {"gtol": 1e-10, "ftol": 0.0, "maxiter": 5000, "maxfun": 5000, "maxcor": 20}
    return scipy.optimize.minimize(both, start.numpy(), jac=True, method="L-BFGS-B", options=options)


def curvature(problem, x, free):
    """The smallest eigenvalue of the Hessian at x, in the coordinates `free`, by central differences of gradients."""
    step = 1e-5 * torch.eye(len(x), dtype=torch.float64)[free]
    gradients = torch.zeros(2, len(free), len(x), dtype=torch.float64)
    for moved, rows in zip((x + step, x - step), gradients, strict=True):
        for point, row in zip(moved, rows, strict=True):
            problem(point[None], row[None])
    H = ((gradients[0] - gradients[1]) / 2e-5)[:, free]
    return float(torch.linalg.eigvalsh((H + H.T) / 2)[0])


@pytest.mark.parametrize(
    "case", [convex, rosenbrock, 0, 1, 2, 3, 4], ids=lambda case: getattr(case, "__name__", str(case))
)
def test_the_minimum_is_scipys(case):
    if callable(case):
        problem, start, free = with_gradient(case), torch.tensor([[-1.2, 1.0]]).double(), [0, 1]
    else:
        layout, start, problem = of_network(case)
        free = layout.per_entry(torch.ones(1, 2)).nonzero()[:, 1].tolist()
    local, theirs = begun(start), by_scipy(problem, start[0])
    lbfgs.minimise(local, problem, 2000, 1e-10)
    assert local["code"].item() == CONVERGED
    # Near a minimum whose Hessian is at least mu, x is ||gradient||/mu away from it, and F ||gradient||^2/(2 mu) above.
    mu = curvature(problem, local["x"][0], free)
    assert mu > 1e-3
    apart = float((local["x"][0] - torch.from_numpy(theirs.x)).norm())
    assert apart <= 1.1 * (float(local["g"].norm()) + np.linalg.norm(theirs.jac)) / mu + 1e-14
    assert local["f"].item() <= theirs.fun + SAME * abs(theirs.fun)


def two_loops(local, m):
    """-H g of one replica by the two loops of Nocedal & Wright, Algorithm 7.4: a naive form of the compact one."""
    held = min(int(local["count"][0]), m)
    slots = [(int(local["head"][0]) - held + i) % m for i in range(held)]
    pairs = [(local["S"][0, i].numpy(), local["Y"][0, i].numpy()) for i in slots]
    q, alphas = local["g"][0].numpy().copy(), []
    for s, y in reversed(pairs):
        alphas.append((s @ q) / (s @ y))
        q -= alphas[-1] * y
    if pairs:
        s, y = pairs[-1]
        q *= (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        q += (alpha - (y @ q) / (s @ y)) * s
    return -q


def largest_fault(kind):
    """How far directions are from the two loops and steps from the Wolfe conditions, round by round to the minimum."""
    found = []
    problems = [([[-1.2, 1.0]], with_gradient(rosenbrock), 1.0), (*of_network(0)[1:], 1.0)]
    problems += [([[0.5]], with_gradient(well), first_step) for first_step in (20.0, 1e-3)]
    for start, problem, first_step in problems:
        local = begun(start, memory=5)
        for _ in range(400):
            before = {name: local[name].clone() for name in ("x", "f", "d", "t", "slope")}
            kind.minimise(local, problem, 1, 1e-10, first_step)
            if torch.equal(local["x"], before["x"]):
                continue
            f, slope, step = (before[name].item() for name in ("f", "slope", "t"))
            reached, after = local["f"].item(), float((local["g"] * before["d"]).sum())
            strong = max(reached - f - 1e-4 * step * slope, abs(after) + 0.9 * slope)
            approximate = max(reached - f - SAME * abs(f), 0.9 * slope - after, after - (2e-4 - 1) * slope)
            moved = float((local["x"] - before["x"] - step * before["d"]).norm())
            away = np.linalg.norm(local["d"][0].numpy() - (d := two_loops(local, 5))) / (np.linalg.norm(d) or 1.0)
            found += [min(strong, approximate), moved, away]
        found.append(float(local["code"].item() != CONVERGED))
    return float(np.max(found))  # NaN where one is


def largest_coupling(kind):
    """The largest difference between five networks alone and in their ensemble, on the way and at the end."""
    starts, problems = zip(*(of_network(replica)[1:] for replica in range(5)), strict=True)
    worst, gradients = 0.0, [torch.zeros_like(start) for start in starts]

    def together(flat, gradient):
        values = [problem(x[None], g) for problem, x, g in zip(problems, flat, gradients, strict=True)]
        gradient.copy_(torch.cat(gradients))
        return torch.cat(values)

    ensemble, alone = begun(torch.cat(starts)), [begun(start) for start in starts]
    for rounds in (1, 2, 7, 20, 100):
        kind.minimise(ensemble, together, rounds, 1e-6)
        for replica, (local, problem) in enumerate(zip(alone, problems, strict=True)):
            kind.minimise(local, problem, rounds, 1e-6)
            worst = max(worst, float((ensemble["x"][replica] - local["x"][0]).abs().max()))
    return worst


def test_directions_and_steps_are_those_of_the_formulas_and_nobody_elses():
    assert largest_fault(lbfgs) <= 1e-10
    assert largest_coupling(lbfgs) == 0.0


STEP = 'torch.where(s["hi"][:, 0].isinf(), wider, inside)'
SHARED = [
    (STEP, f"{STEP}.amin().expand_as(wider)"),
    ('_chosen(accepted, trial.f, s["f"])', "trial.f"),
    ("self._begin(accepted, ", "self._begin(accepted | True, "),
    ('s["tries"] >= BISECT', 's["tries"].max() >= 1'),
]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *SHARED,
        ("torch.where(steepest[:, None], -g, direction)", "torch.where(steepest[:, None], g, direction)"),
        ("direction.addcmul_(gamma, g).neg_()", "direction.addcmul_(gamma, g)"),
        ("D * u + gamma * ((YY", "D * u - gamma * ((YY"),
        ("u = torch.linalg.solve_triangular(R, p", "u = torch.linalg.solve_triangular(R, q"),
        ('s["YY"][at, slots[at], :] = along_Y[at, :, 0]', "pass"),
        ('s["SY"][at, :, slots[at]] = along_S', 's["SY"][at, slots[at], :] = along_S'),
        ('s["count"].clamp_max(m)', 's["count"].clamp_max(m - 1)'),
        ("torch.where(good, (slots + 1)", "torch.where(good, (slots + 2)"),
        ('abs() <= -C2 * s["slope"]', 'abs() <= -2 * s["slope"]'),
        ("| (enough & flat) | approximate", "| flat | approximate"),
        ("| (enough & flat) | approximate", "| (enough & flat)"),
    ],
)
def test_planted_bugs_are_found(old, new, mutant):
    largest = largest_coupling if (old, new) in SHARED else largest_fault
    with np.errstate(all="ignore"):
        assert not largest(mutant(lbfgs, old, new)) <= 1e-6


def test_stalled_where_no_step_along_the_gradient_is_acceptable():
    # |x| has a kink: nowhere is its slope flatter than at the start. One evaluation there, and 20 tries.
    for rounds, code in ((20, RUNNING), (21, STALLED), (500, STALLED)):
        found = minimised(lambda x: x.abs().sum(1), [[0.3], [-2.0], [0.0]], rounds)
        assert found["code"].tolist() == [code, code, CONVERGED]
    assert found["x"].tolist() == [[0.3], [-2.0], [0.0]]
