"""Starting an ensemble at a solution that theory knows, with or without noise, instead of at random.

What gradient descent does from there says whether the solution is a local minimum, a question that arXiv 2405.14468
leaves open (its solutions and their closed forms: `ncbench.theory.dufm_mse`).
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
    start: str,
    labels: Tensor,
    *,
    weight_decays: Sequence[Sequence[float]],
    feature_decays: Sequence[float],
    noise: float,
) -> None:
    """Put every replica at a solution of its own decays, plus `noise` times the random values it was made with.

    p <- p_solution + noise p_random: the random values are those of the replica's seed and `init_scale`, so replicas
    differ in their noise. `start` is dnc or srg; `weight_decays` holds L numbers per replica, `feature_decays` one.
    Raises ValueError where the solution does not exist for these arguments or needs wider layers.
    """
    per_class = len(labels) // network.num_classes
    solutions: dict[tuple[float, ...], tuple[Tensor, list[Tensor]]] = {}  # by the decays: replicas may share theirs
    for replica, (lams, lam_H) in enumerate(zip(weight_decays, feature_decays, strict=True)):
        key = (lam_H, *lams)
        if key not in solutions:
            H, Ws = SOLUTIONS[start](
                network.num_classes, network.depth, per_class, lam_H, list(lams), width=network.weights[0].shape[2]
            )
            # Columns of the papers' H_1 are rows here, one for each class, repeated for its samples.
            solutions[key] = H[:, ::per_class].T[labels], Ws
        features, matrices = solutions[key]
        for parameter, exact in zip((network.features.value, *network.weights), (features, *matrices), strict=True):
            if exact.shape != parameter.shape[1:]:
                raise ValueError(f"start={start} needs a network whose widths are all equal")
            parameter[replica] = exact + noise * parameter[replica].double()
