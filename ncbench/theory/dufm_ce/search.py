"""Numerical minimisation over logits: the best known loss, and the critical points that are minima.

Source: derived; structures from arXiv 2410.23169 and sections named in docs/theory.md. Everything runs on factors of
one column per class with equal decays Lam (n and the decays enter through Lam alone) and on the width r = rank of
the structure, which holds every critical point of that rank.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize, root
from torch import Tensor

from ncbench.theory.arguments import Array, at_least, positive
from ncbench.theory.dufm_ce.named import named_structure, structures
from ncbench.theory.dufm_ce.objective import balanced_factors, loss, reduced_objective
from ncbench.theory.dufm_ce.structures import ray_optimum

__all__ = ["EndState", "best_known", "best_known_loss", "end_state", "stable_end_states"]

Shapes = list[tuple[int, int]]


class EndState(NamedTuple):
    """A critical point: the structure it was relaxed from, its loss, rank, spectrum, logits M and index.

    `negative_eigenvalues` of the Hessian over all factors: 0 for a minimum, more for a strict saddle.
    """

    name: str
    loss: float
    rank: int
    singular_values: Tensor
    logits: Tensor
    negative_eigenvalues: int

    @property
    def is_minimum(self) -> bool:
        return self.negative_eigenvalues == 0


def best_known_loss(num_classes: int, depth: int, decay: float, random_starts: int = 12, seed: int = 0) -> float:
    """Upper bound on the global minimum: the loss of `best_known`."""
    return best_known(num_classes, depth, decay, random_starts, seed).loss


def best_known(num_classes: int, depth: int, decay: float, random_starts: int = 12, seed: int = 0) -> EndState:
    """The lowest point reached from DNC, the structures of least loss along their rays, and random spherical codes.

    Every start is relaxed over all entries by L-BFGS, structures after a small perturbation that leaves saddles.
    Global optimality is not proven. The zero solution (loss log K, rank 0) is returned where no end point is below it.

    Raises:
        ValueError: K is below 2, L below 1, or the decay not positive.
    """
    K, L = num_classes, at_least("depth", depth, 1)
    lam = float(positive("decay", decay))
    rng = np.random.default_rng(seed)
    # Starts 1: the six structures with the least loss along their rays, and DNC whatever its place, each at its best
    # scale. Noise of 2 % lets the relaxation leave a saddle on which symmetry would hold it.
    rays = sorted(((ray_optimum(M, L, lam), name, M) for name, M in structures(K)), key=lambda ray: ray[0][1])
    candidates = [ray for i, ray in enumerate(rays) if i < 6 or ray[1] == str([K])]
    starts = [(name, scale * M, 0.02) for (scale, _), name, M in candidates if scale > 0]
    # Starts 2: Gram matrices of K random unit vectors in 2, 3 or 4 dimensions (at most K), at a scale that grows like
    # log(1/Lam), as the best scales do. None for L = 1, where the objective is convex, nor for K = 2.
    for i in range(random_starts if K > 2 and L > 1 else 0):
        directions = rng.standard_normal((2 + i % min(3, K - 1), K))
        code = torch.from_numpy(directions / np.linalg.norm(directions, axis=0))
        starts.append(("spherical code", 4 * max(1.0, -np.log(lam)) * code.mT @ code, 0.0))
    # Relax all entries from every start, and keep the lowest end, the zero solution included.
    end_points = [("zero", float(np.log(K)), torch.zeros(K, K, dtype=torch.float64))]
    for name, M, noise in starts:
        relaxed = _relax(M, L, lam, noise, rng)
        end_points.append((name, float(reduced_objective(relaxed, L, lam)), relaxed))
    name, value, M = min(end_points, key=lambda point: point[1])
    # Singular values that vanish at the minimum are small but not 0 at the end of L-BFGS: 1e-3 of the largest counts.
    s = torch.linalg.svdvals(M)
    rank = int((s > 1e-3 * s[0]).sum()) if s[0] > 0 else 0
    return EndState(name, value, rank, s, M, 0)


def stable_end_states(num_classes: int, depth: int, decay: float, minima_only: bool = False) -> list[EndState]:
    """Critical points relaxed from every known structure, sorted by loss, minima told apart from strict saddles.

    A point counts if its gradient is below 1e-9 and its loss below log K; points of equal loss and rank count once. For
    L >= 2 a rank-increasing direction costs Lam at second order and gains nothing, so the Hessian over factors of
    width r = rank has every negative eigenvalue there is; for L = 1 the width is K.

    Returns:
        All critical points that were reached, or with `minima_only` those without a negative eigenvalue. Other
        critical points may exist.

    Raises:
        ValueError: K is below 2, L below 1, or the decay not positive.
    """
    K, L = num_classes, at_least("depth", depth, 1)
    lam = float(positive("decay", decay))
    states: list[EndState] = []
    for name, M in structures(K):
        scale = ray_optimum(M, L, lam)[0]  # 0 where the zero solution is better along the whole ray
        state = _critical_point(name, scale * M, L, lam) if scale > 0 else None
        if state is None or any(abs(state.loss - s.loss) < 1e-8 and state.rank == s.rank for s in states):
            continue
        states.append(state)
    return sorted((s for s in states if s.is_minimum or not minima_only), key=lambda s: s.loss)


def end_state(num_classes: int, depth: int, decay: float, structure: str) -> EndState:
    """The minimum that one structure (a name of `named_structure`) relaxes to.

    >>> round(end_state(10, 2, 2**-10 * 5 ** (1 / 3), "[8, 2]").loss, 6)
    0.088433

    Raises ValueError where there is none: zero is the better point along the whole ray, the relaxation ends at no
    critical point below log K, at one of another rank, or at a strict saddle.
    """
    L, lam = at_least("depth", depth, 1), float(positive("decay", decay))
    M = named_structure(structure, num_classes)
    scale = ray_optimum(M, L, lam)[0]
    state = _critical_point(structure, scale * M, L, lam) if scale > 0 else None
    where = f"structure={structure}: with {num_classes} classes, depth {L} and decay {lam:.3g} it"
    if state is None:
        raise ValueError(f"{where} is no better than zero, or relaxes to no critical point")
    if state.rank != int(torch.linalg.matrix_rank(M, rtol=1e-9)):
        raise ValueError(f"{where} relaxes to a point of another rank, {state.rank}")
    if not state.is_minimum:
        raise ValueError(f"{where} is a strict saddle ({state.negative_eigenvalues} negative eigenvalues)")
    return state


def _critical_point(name: str, M: Tensor, L: int, lam: float) -> EndState | None:
    """The critical point that M relaxes to without noise (symmetry keeps it on saddles), or None."""
    K = len(M)
    # 1. Into the basin by L-BFGS, on factors of the structure's own rank: this width holds every point of that rank.
    x, shapes = _pack(M, L)
    x = minimize(_value_and_gradient, x, (shapes, lam), "L-BFGS-B", jac=True, options=_options(1e-7)).x
    # 2. To rounding by Newton's method, as least squares: the Hessian is singular along the fibre of the same logits.
    x = root(lambda x: _value_and_gradient(x, shapes, lam)[1], x, jac=lambda x: _hessian(x, shapes, lam), method="lm").x
    # 3. Refused: not stationary, no better than zero, or shrunk to zero.
    value, gradient = _value_and_gradient(x, shapes, lam)
    M = torch.from_numpy(_logits(_unpack(x, shapes)))
    s = torch.linalg.svdvals(M)
    rank = int((s > 1e-6 * s[0]).sum())
    if np.abs(gradient).max() > 1e-9 or value >= np.log(K) or s[0] < 1e-6:
        return None
    # 4. The index: balanced factors of the reached logits, at the width that shows every negative eigenvalue.
    x, shapes = _pack(M, L, K if L == 1 else rank)
    negative = int((np.linalg.eigvalsh(_hessian(x, shapes, lam)) < -1e-5 * lam).sum())
    return EndState(name, value, rank, s, M, negative)


def _relax(M: Tensor, L: int, lam: float, noise: float, rng: np.random.Generator) -> Tensor:
    """The logits that L-BFGS reaches from the balanced factors of M, with noise relative to their largest entry."""
    x, shapes = _pack(M, L)
    x = x + noise * np.abs(x).max() * rng.standard_normal(x.shape)
    end = minimize(_value_and_gradient, x, (shapes, lam), "L-BFGS-B", jac=True, options=_options(1e-10))
    return torch.from_numpy(_logits(_unpack(end.x, shapes)))


def _options(gtol: float) -> dict[str, float]:
    return {"gtol": gtol, "ftol": 1e-15, "maxiter": 5000, "maxfun": 6000, "maxcor": 20}


def _pack(M: Tensor, L: int, width: int | None = None) -> tuple[Array, Shapes]:
    """Balanced factors of M as one vector: H, W_1, ..., W_L, and their shapes."""
    H, Ws = balanced_factors(M, L, int(torch.linalg.matrix_rank(M, rtol=1e-9)) if width is None else width)
    factors = [H, *Ws]
    return torch.cat([F.flatten() for F in factors]).numpy(), [(F.shape[0], F.shape[1]) for F in factors]


def _unpack(x: Array, shapes: Shapes) -> list[Array]:
    ends = np.cumsum([a * b for a, b in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(x, ends), shapes, strict=True)]


def _logits(factors: list[Array]) -> Array:
    Z = factors[0]
    for W in factors[1:]:
        Z = W @ Z
    return Z


def _value_and_gradient(x: Array, shapes: Shapes, lam: float) -> tuple[float, Array]:
    """The objective at n = 1 and equal decays, by hand: hundreds of thousands of calls on tiny matrices."""
    # Forward: Z_l = W_l ... W_1 H for every l, the last one the logits.
    factors = _unpack(x, shapes)
    below = [factors[0]]
    for W in factors[1:]:
        below.append(W @ below[-1])
    Z = below[-1]
    K = len(Z)
    # Softmax of the columns, shifted by their largest entries so that exp does not overflow.
    shifted = Z - Z.max(0)
    P = np.exp(shifted)
    total = P.sum(0)
    value = float((np.log(total) - shifted.diagonal()).mean() + lam / 2 * x @ x)
    # Backward: G is the gradient of the fit at the logits, then below W_L, W_{L-1}, ... down to H.
    G = (P / total - np.eye(K)) / K
    gradients = []
    for W, features in zip(factors[:0:-1], below[-2::-1], strict=True):
        gradients.append(G @ features.T + lam * W)
        G = W.T @ G
    gradients.append(G + lam * factors[0])
    return value, np.concatenate([g.ravel() for g in gradients[::-1]])


def _hessian(x: Array, shapes: Shapes, lam: float) -> Array:
    """The Hessian of `_value_and_gradient`'s objective at x, by automatic differentiation of `loss`."""

    def objective(vector: Tensor) -> Tensor:
        parts = vector.tensor_split(np.cumsum([a * b for a, b in shapes])[:-1].tolist())
        H, *Ws = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        return loss(H, Ws, 1, lam, lam)

    hessian: Array = torch.func.jacrev(torch.func.grad(objective))(torch.from_numpy(x)).numpy()
    return hessian
