"""Starting a stack at a solution that theory knows, with or without noise, instead of at random.

What gradient descent does from there says whether the solution is a local minimum (arXiv 2405.14468, Section 4; the
closed forms: `ncbench.theory.dufm_mse`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ncbench.models.replica.dufm import DUFM
from ncbench.theory.dufm_mse import dnc_solution, srg_solution

__all__ = ["SOLUTIONS", "start_at"]

SOLUTIONS: dict[str, Callable[..., Any]] = {"dnc": dnc_solution, "srg": srg_solution}


@torch.no_grad()
def start_at(
    network: DUFM,
    solution: str,
    labels: Tensor,
    *,
    weight_decays: Sequence[Sequence[float]],
    feature_decays: Sequence[float],
    noise: float,
) -> None:
    """Put every replica at a solution of its own decays, plus `noise` times the random values it was made with.

    p <- p_solution + noise p_random: the random values are those of the replica's seed and `init_scale`, so replicas
    differ in their noise. `weight_decays` holds L numbers per replica, `feature_decays` one. Raises ValueError where
    the solution does not exist for these arguments or needs wider layers.
    """
    per_class = len(labels) // network.num_classes
    known: dict[tuple[float, ...], tuple[Tensor, list[Tensor]]] = {}
    for replica, (lams, lam_H) in enumerate(zip(weight_decays, feature_decays)):
        key = (lam_H, *lams)
        if key not in known:
            H, Ws = SOLUTIONS[solution](
                network.num_classes, network.depth, per_class, lam_H, list(lams), width=network.weights[0].shape[2]
            )
            known[key] = H[:, ::per_class].T[labels], Ws
        features, matrices = known[key]
        for parameter, exact in zip((network.features.value, *network.weights), (features, *matrices)):
            if exact.shape != parameter.shape[1:]:
                raise ValueError(f"model.start={solution}: all widths have to be equal")
            parameter[replica] = exact + noise * parameter[replica].double()
