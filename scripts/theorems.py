"""Theorems that no experiment trains: measure them, print the tables, write docs/results/theorems.json.

    python scripts/theorems.py [--out FILE] [--quick]

Three parts, float64, seeds 0, 1, ...:

srg     arXiv 2405.14468: one-sided derivatives at the SRG solution along random directions and along the direction in
        which it can be left; L = 3, 4, 5, decay 2e-3, n = 5 (as one sample per class with feature decay 1e-2).
path    arXiv 2402.03991v3: the benign path of networks trained to interpolate (24-16-12-8-4, leaky ReLU and linear).
gamma   arXiv 2402.03991v3: the least R_delta found by training as delta goes to zero, against the closed form and its
        limit (24-16-12-12-12-4, tanh first layer, linear layers, orthonormal inputs).
"""

import argparse
import itertools
import json
import math
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import scipy.optimize
import torch
from torch import Tensor

from ncbench.analysis import benign_path, one_sided_descent, random_directions
from ncbench.theory import dufm_mse
from ncbench.theory.representation_cost import feedforward_cost_delta, feedforward_singular_values_delta

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "theorems.json"
DELTAS = [10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4]


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--quick", action="store_true", help="few classes, directions and seeds")
    arguments = parser.parse_args()
    start = time.perf_counter()
    classes, directions, seeds = ([6, 10, 15], 20, 1) if arguments.quick else ([6, 10, 15, 21, 28], 1000, 10)
    deltas = DELTAS[:3] if arguments.quick else DELTAS
    parts = {
        "srg": [srg(K, L, directions) for L in (3, 4, 5) for K in classes],
        "path": [path(slope, seed) for slope in (0.1, 1.0) for seed in range(min(seeds, 3))],
        "gamma": gamma(deltas, seeds),
    }
    for name, rows in parts.items():
        table(name, rows)
    about = {
        "command": "python scripts/theorems.py" + (" --quick" if arguments.quick else ""),
        "wall_seconds": round(time.perf_counter() - start, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "seeds": f"0 to {seeds - 1}; random directions of seed 0",
    }
    arguments.out.write_text(json.dumps({"about": about, **parts}, indent=1) + "\n")
    print(f"{arguments.out}, {about['wall_seconds']:.0f} s")
    return 0


def srg(K: int, L: int, directions: int) -> dict[str, Any]:
    """The SRG solution at widths K and K + 1: the escape, and the slopes on `directions` random rays at K + 1."""
    decays = (1e-2, 2e-3)
    row: dict[str, Any] = {"K": K, "L": L, "stationary": dufm_mse.srg_is_stationary(K, L, 1, *decays)}
    for width in (K, K + 1):
        H, Ws = dufm_mse.srg_solution(K, L, 1, *decays, width=width)

        def objective(H: Tensor, *Ws: Tensor) -> Tensor:
            return dufm_mse.loss(H, Ws, 1, *decays)

        escape = dufm_mse.srg_escape(K, L, 1, *decays, width=width)
        key = "" if width == K else "_wider"
        if escape is None:
            row |= {f"order{key}": None, f"rate{key}": None, f"measured{key}": None}
        else:
            along = one_sided_descent(objective, [H, *Ws], [[escape.features, *escape.weights]], 1e-3)
            number = along.slopes if escape.order == 1 else along.curvatures / 2
            row |= {f"order{key}": escape.order, f"rate{key}": escape.rate, f"measured{key}": float(number)}
    rays = one_sided_descent(objective, [H, *Ws], random_directions([H, *Ws], directions), 1e-5)
    return row | {
        "random": directions,
        "least_slope": float(rays.slopes.min()),
        "falling": int((rays.changes < 0).sum()),
    }


def path(slope: float, seed: int) -> dict[str, Any]:
    """Train 24-16-12-8-4 to interpolate one-hot targets of 20 random inputs, then walk the path in 101 steps."""
    rng = torch.Generator().manual_seed(seed)
    X = torch.randn(24, 20, generator=rng, dtype=torch.float64)
    labels = torch.arange(20) % 4
    Y = torch.eye(4, dtype=torch.float64)[:, labels]
    sizes = [24, 16, 12, 8, 4]
    shapes = [(b, a) for a, b in itertools.pairwise(sizes)]
    start = torch.cat([(torch.randn(s, generator=rng, dtype=torch.float64) / s[1] ** 0.5).flatten() for s in shapes])

    def features(x: Tensor, depth: int) -> Tensor:
        z = X
        for l, W in enumerate(split(x, shapes)[:depth]):
            z = W @ z
            z = z if l == len(shapes) - 1 else torch.nn.functional.leaky_relu(z, slope)
        return z

    x = start
    for _ in range(200):  # Gauss-Newton steps of least norm: quadratic convergence to outputs exact up to rounding
        residual = (features(x, 4) - Y).flatten()
        if residual.abs().max() < 1e-13:
            break
        J = torch.func.jacrev(lambda x: (features(x, 4) - Y).flatten())(x)
        x = x - min(1.0, 1 / float(residual.norm())) * torch.linalg.lstsq(J, residual, driver="gelsd").solution
    walked = benign_path(split(x, shapes)[1:], features(x, 1), labels, 101, slope, X)
    return {
        "slope": slope,
        "seed": seed,
        "trained_error": float((features(x, 4) - Y).abs().max()),
        "largest_error": float(walked.interpolation_errors.max()),
        "upper_cost": float(walked.upper_costs[0]),
        "upper_cost_change": float(walked.upper_costs.max() - walked.upper_costs.min()),
        "first_costs": [float(walked.first_costs[i]) for i in (0, 50, 100)],
        "variation_start": walked.variations[0, :-1].tolist(),
        "variation_half": walked.variations[50, :-1].tolist(),
        "variation_end": walked.variations[-1, :-1].tolist(),
    }


def gamma(deltas: list[float], seeds: int) -> list[dict[str, Any]]:
    """Lowest R_delta of trained networks per delta, each seed continued from the delta before it."""
    d, N, K, sizes = 24, 20, 4, [24, 16, 12, 12, 12, 4]
    shapes = [(b, a) for a, b in itertools.pairwise(sizes)]
    Y = torch.eye(K, dtype=torch.float64)[:, torch.arange(N) % K]
    states: list[Tensor] = []
    inputs = []
    for seed in range(seeds):
        rng = torch.Generator().manual_seed(seed)
        inputs.append(torch.linalg.qr(torch.randn(d, N, generator=rng, dtype=torch.float64))[0])
        states.append(
            torch.cat([(torch.randn(s, generator=rng, dtype=torch.float64) / s[1] ** 0.5).flatten() for s in shapes])
        )
    rows = []
    for delta in deltas:
        found = []
        for seed in range(seeds):
            for lam in (1e-3, 1e-4, 1e-5) if delta == deltas[0] else (1e-5,):
                states[seed] = minimise(states[seed], shapes, inputs[seed], Y, lam, delta)
            W = split(states[seed], shapes)
            upper = sum(float(V.square().sum()) for V in W[1:])
            values = torch.stack([torch.linalg.svdvals(V)[:K] for V in W[1:]])
            found.append((upper + delta * float(W[0].square().sum()), upper, float(values.min()), float(values.max())))
        predicted = feedforward_cost_delta([math.sqrt(N / K)] * K, len(shapes) - 1, delta, sizes[1], N)
        s = float(feedforward_singular_values_delta([math.sqrt(N / K)] * K, len(shapes) - 1, delta, sizes[1], N)[0])
        best = min(found)
        rows.append(
            {
                "delta": delta,
                "cost_predicted": predicted[0],
                "cost_lowest": best[0],
                "cost_median": float(np.median([f[0] for f in found])),
                "upper_predicted": predicted[1],
                "upper_lowest": best[1],
                "s_predicted": s,
                "s_least": best[2],
                "s_largest": best[3],
            }
        )
    limit = feedforward_cost_delta([math.sqrt(N / K)] * K, len(shapes) - 1, 0, sizes[1], N)[0]
    return [row | {"limit": limit} for row in rows]


def minimise(x: Tensor, shapes: list[tuple[int, int]], X: Tensor, Y: Tensor, lam: float, delta: float) -> Tensor:
    """L-BFGS on (1/N) ||f(X) - Y||^2 + lam R_delta, tanh first layer and linear layers behind it."""

    def value(flat: Any) -> tuple[float, Any]:
        point = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
        W = split(point, shapes)
        z = torch.tanh(W[0] @ X)
        for V in W[1:]:
            z = V @ z
        cost = sum(V.square().sum() for V in W[1:]) + delta * W[0].square().sum()
        total = (z - Y).square().sum() / X.shape[1] + lam * cost
        return float(total.detach()) / lam, torch.autograd.grad(total / lam, point)[0].numpy()

    options = {"maxiter": 20000, "maxfun": 40000, "maxcor": 50, "ftol": 1e-15, "gtol": 1e-7}
    return torch.from_numpy(scipy.optimize.minimize(value, x.numpy(), jac=True, method="L-BFGS-B", options=options).x)


def split(x: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """The matrices of one vector of parameters."""
    parts = torch.split(x, [a * b for a, b in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def table(name: str, rows: list[dict[str, Any]]) -> None:
    """One part on the terminal."""
    print(name)
    for row in rows:
        print("  " + "  ".join(f"{key}={shown(value)}" for key, value in row.items()))


def shown(value: Any) -> str:
    """Five digits of a number, of each number of a list."""
    if isinstance(value, list):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
