"""Training to stationarity: the 8 x 8 grid of fig1_blobs_quick as one ensemble, against scipy's L-BFGS one by one.

ours      `EnsembleLBFGS` on all 64 networks at once, on every core
autograd  scipy.optimize.minimize(method="L-BFGS-B") on one network after the other in this process, the gradient by
          torch.autograd: what one writes without ncbench. One thread, which is faster here than two
by hand   the same with the ensemble's own hand-written gradient of one network: what is left is scipy's own share

All start at the same parameters in float64 and stop at max |gradient| <= --tolerance; scipy with ftol 0, maxcor as
given, and started again from where it stopped until the gradient is there. A network that has not arrived after
--evaluations is given up by every side; the table says how many, and compares the losses at the end.

python scripts/bench_stationary.py                       # as in docs/performance.md, a quarter of an hour
python scripts/bench_stationary.py --rounds 1 --every 9  # a ninth of the networks, for a look
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor

from ncbench.models.replica import LBFGS, EnsembleLBFGS, Layout, LBFGSState, Perceptron, SquaredError
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs

Value = Callable[[np.ndarray], tuple[float, np.ndarray]]

CORES = len(os.sched_getaffinity(0))
MEMORY = 20


@dataclass(frozen=True)
class Grid:
    """The networks of the experiment with their data and decays (R, L)."""

    network: Perceptron
    inputs: Tensor
    targets: Tensor
    decays: Tensor
    layout: Layout
    start: Tensor  # (R, P)

    def problem(self, index: Tensor) -> SquaredError:
        return SquaredError(self.network, self.layout, self.inputs, self.targets, self.decays, index)


@dataclass
class Outcome:
    """What a side took, and where the networks ended."""

    seconds: float
    cpu: float
    evaluations: list[int]
    loss: Tensor
    gradient: Tensor


def main() -> None:
    """Run the sides in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="turns of a scipy side; ours go before and after")
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument("--evaluations", type=int, default=30_000)
    parser.add_argument("--maxcor", type=int, default=MEMORY, help="of scipy; the ensemble has 20")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th network only")
    arguments = parser.parse_args()
    grid = load(arguments.every)
    outcomes: dict[str, list[Outcome]] = {"ours": [], "autograd": [], "by hand": []}
    outcomes["ours"].append(ours(grid, arguments.tolerance, arguments.evaluations))
    for _ in range(arguments.rounds):
        for name in ("autograd", "by hand"):
            torch.set_num_threads(1)
            with threadpool_limits(1, user_api="blas"):  # scipy's own: a second thread only waits
                outcomes[name].append(one_by_one(grid, name == "autograd", arguments))
            torch.set_num_threads(CORES)
            outcomes["ours"].append(ours(grid, arguments.tolerance, arguments.evaluations))
    report(outcomes, arguments)


def load(every: int) -> Grid:
    """The experiment's networks, data and decays."""
    (job,) = compose_jobs(["+experiment=zangrando24/fig1_blobs_quick"], multirun=False)
    built = build(job.config)
    chosen = torch.arange(0, len(built.replicas), every)
    module: Any = built.module
    points, network = module.points, module.network
    for parameter in network.parameters():
        parameter.data = parameter.data[chosen]
    network.features.value = network.features.value[chosen]
    network.replicas = len(chosen)
    layout = Layout(network)
    start = layout.gather(network)
    return Grid(network, points.inputs[chosen], points.targets[chosen], module.decays[chosen], layout, start)


def ours(grid: Grid, tolerance: float, evaluations: int) -> Outcome:
    """All networks in one minimisation."""
    state = LBFGSState(len(grid.start), grid.layout.size, MEMORY, grid.start.dtype)
    state.restart(grid.start)
    problem_of = partial(SquaredError, grid.network, grid.layout, grid.inputs, grid.targets, grid.decays)
    engine = EnsembleLBFGS(problem_of, grid.inputs.shape[1], state, LBFGS(memory=MEMORY), tolerance)
    begin, cpu = time.perf_counter(), time.process_time()
    engine.advance(evaluations)
    took = time.perf_counter() - begin, time.process_time() - cpu
    loss, gradient = at_the_end(grid, state.get_buffer("x"))
    return Outcome(*took, [], loss, gradient)


def one_by_one(grid: Grid, autograd: bool, arguments: argparse.Namespace) -> Outcome:
    """One scipy minimisation after the other."""
    ends, counts = torch.empty_like(grid.start), []
    begin, cpu = time.perf_counter(), time.process_time()
    for r in range(len(grid.start)):
        ends[r], count = _one(grid, r, autograd, arguments)
        counts.append(count)
    took = time.perf_counter() - begin, time.process_time() - cpu
    return Outcome(*took, counts, *at_the_end(grid, ends))


def _one(grid: Grid, r: int, autograd: bool, arguments: argparse.Namespace) -> tuple[Tensor, int]:
    count = 0
    value: Value = _autograd(grid, r) if autograd else _by_hand(grid, r)

    def counted(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        count += 1
        return value(x)

    x = grid.start[r].numpy().copy()
    while True:
        before = count
        options = {"maxcor": arguments.maxcor, "gtol": arguments.tolerance, "ftol": 0.0}
        options |= {"maxiter": 10**9, "maxfun": arguments.evaluations - count}
        done = minimize(counted, x, jac=True, method="L-BFGS-B", options=options)
        x = done.x
        arrived = np.abs(done.jac).max() <= arguments.tolerance
        if arrived or count >= arguments.evaluations or count - before <= 25:  # the last: no progress left
            return torch.from_numpy(x), count


def _by_hand(grid: Grid, r: int) -> Value:
    problem, gradient = grid.problem(torch.tensor([r])), torch.zeros_like(grid.start[:1])

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        f = problem(torch.from_numpy(x)[None], gradient)
        return float(f), gradient[0].numpy().copy()

    return value


def _autograd(grid: Grid, r: int) -> Value:
    X, Y, layers = grid.inputs[r], grid.targets[r], list(zip(grid.layout.weights, grid.layout.biases, strict=True))
    decay = grid.layout.per_entry(grid.decays[r : r + 1])[0]

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        flat = torch.tensor(x, requires_grad=True)
        z = X
        for l, (weight, bias) in enumerate(layers):
            assert bias is not None
            z = torch.nn.functional.linear(z, weight.of(flat[None])[0], bias.of(flat[None])[0])
            z = z if l == len(layers) - 1 else z.tanh()
        f = (z - Y).square().sum(1).mean() + (decay * flat.square()).sum()
        f.backward()  # type: ignore[no-untyped-call]
        assert flat.grad is not None
        return float(f.detach()), flat.grad.numpy()

    return value


def at_the_end(grid: Grid, x: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and max |gradient| of every network."""
    gradient = torch.zeros_like(x)
    loss = grid.problem(torch.arange(len(x)))(x, gradient)
    return loss, gradient.abs().amax(1)


def report(outcomes: dict[str, list[Outcome]], arguments: argparse.Namespace) -> None:
    """The table: medians over the turns of a side."""
    base = outcomes["ours"]
    print(
        f"{len(base[0].loss)} networks, max |gradient| <= {arguments.tolerance:g}, "
        f"{CORES} cores, torch {torch.__version__}"
    )
    typical = statistics.median(outcome.seconds for outcome in base)
    print("            s (CPU s)     turns    over ours   arrived   evaluations, mean   loss - ours, median [min, max]")
    for name, rounds in outcomes.items():
        seconds, cpu = (statistics.median(getattr(outcome, key) for outcome in rounds) for key in ("seconds", "cpu"))
        last = rounds[-1]
        arrived = int((last.gradient <= arguments.tolerance).sum())
        apart = last.loss - base[-1].loss
        mean = f"{statistics.mean(last.evaluations):.0f}" if last.evaluations else "-"
        middle, low, high = float(apart.median()), float(apart.min()), float(apart.max())
        print(
            f"  {name:9} {seconds:8.1f} ({cpu:6.1f})   {len(rounds):3d}   "
            f"{seconds / typical:10.2f}   {arrived:7d}   {mean:>17}   "
            f"{middle:.1e} [{low:.1e}, {high:.1e}]",
            flush=True,
        )


if __name__ == "__main__":
    main()
