"""Starting an ensemble at a solution that theory knows, with or without noise, instead of at random.

What gradient descent does from there says whether the solution is a local minimum, and how wide its basin is:
questions that arXiv 2405.14468 (MSE, ReLU; closed forms: `ncbench.theory.dufm_mse`) and arXiv 2410.23169
(cross-entropy, linear; `ncbench.theory.dufm_ce`) leave open. Letters: K classes, L weight matrices, n samples of each.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from torch import Tensor

from ncbench.models.initial_values import check_generator, start_draws
from ncbench.models.replica.dufm import DUFM
from ncbench.theory.dufm_ce import balanced_factors, effective_decay, named_structure, ray_optimum
from ncbench.theory.dufm_mse import dnc_solution, srg_solution

__all__ = ["SOLUTIONS", "start_at"]

SOLUTIONS: dict[str, Callable[..., Any]] = {"dnc": dnc_solution, "srg": srg_solution}

Factors = tuple[Tensor, ...]  # rows of H_1, one per class (K, d); W_1 ... W_L


def start_at(
    network: DUFM,
    starts: Sequence[str],
    labels: Tensor,
    *,
    loss: str,
    seeds: Sequence[int],
    weight_decays: Sequence[Sequence[float]],
    feature_decays: Sequence[float],
    noises: Sequence[float],
    init_generator: str = "torch",
) -> None:
    """Put every replica at a solution of its own decays, plus noise; all arguments hold one entry per replica.

    mse: `starts` are dnc or srg, and p <- p_solution + noise p_random with the random values that the network was made
    with, those of the replica's seed and `init_scale`. ce: a name of `named_structure`, at its best scale along the ray
    (`ray_optimum`) and balanced over factors with random orthonormal frames; every entry gets noise s0 N(0, 1), s0 the
    root mean square entry of the exact H_1. The replica's seed draws the frames first and the noise after them, so
    that `noises` change no frame. With `init_generator` philox both have the same bits on every machine; the solution
    itself has not: it is computed with LAPACK and the logarithms and powers of the C library.

    `weight_decays` holds L numbers per replica, `feature_decays` one. Raises ValueError where the solution does not
    exist for these arguments, is no better than zero along the whole ray, or needs other widths.
    """
    of_mse, of_ce = cache(_mse_solution), cache(_ray_point)  # replicas may share theirs
    K, L, width = network.num_classes, network.depth, network.weights[0].shape[2]
    n = len(labels) // K
    check_generator(init_generator)
    parameters = [parameter.detach() for parameter in (network.features.value, *network.weights)]
    given = zip(starts, seeds, weight_decays, feature_decays, noises, strict=True)
    for replica, (start, seed, lams, lam_H, noise) in enumerate(given):
        if loss == "mse":
            exact = of_mse(start, K, L, n, lam_H, tuple(lams), width)
            added = [parameter[replica].double() for parameter in parameters]
        else:
            M = of_ce(start, K, L, float(effective_decay(list(lams), lam_H, n)))
            frames, noise_of = start_draws(init_generator, seed)
            H, Ws = balanced_factors(M, L, width, n, lam_H, list(lams), frames)
            exact, rms = (H[:, ::n].T, *Ws), float(H.square().mean().sqrt())
            added = [rms * noise_of(i, p.shape[1:]) for i, p in enumerate(parameters)]
        # Columns of the papers' H_1 are rows here, one for each class, repeated for its samples.
        for parameter, values, more in zip(parameters, (exact[0][labels], *exact[1:]), added, strict=True):
            if values.shape != parameter.shape[1:]:
                raise ValueError(f"start={start} needs a network whose widths are all equal")
            parameter[replica] = values + noise * more


def _ray_point(start: str, K: int, L: int, decay: float) -> Tensor:
    """The logits of a structure at the scale of least loss."""
    M = named_structure(start, K, "start")
    scale, _ = ray_optimum(M, L, decay)
    if scale == 0:
        raise ValueError(f"start={start} is at no scale better than zero at the effective decay {decay:g}")
    return scale * M


def _mse_solution(start: str, K: int, L: int, n: int, lam_H: float, lams: tuple[float, ...], width: int) -> Factors:
    H, Ws = SOLUTIONS[start](K, L, n, lam_H, list(lams), width=width)
    return H[:, ::n].T, *Ws
