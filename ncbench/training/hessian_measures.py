"""What the Hessian of each replica's objective says at the end of the training of an ensemble of free features."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ncbench.analysis import hessian_shape
from ncbench.models.replica import DUFM
from ncbench.theory.arguments import geometric_mean

__all__ = ["STATIONARY", "hessian_measures"]

STATIONARY = (
    1e-7  # largest entry of a gradient beside which zero eigenvalues of order 1e-7 lie below those of the decay
)


def hessian_measures(
    network: DUFM,
    sample_losses: Callable[[Tensor], Tensor],
    feature_decays: Tensor,
    weight_decays: Tensor,
    largest_gradients: Tensor,
) -> dict[str, Tensor]:
    """hessian_nullity, _negative, _logdet and _smallest of every replica, each (R,); see `analysis.hessian_shape`.

    `sample_losses` maps the outputs (N, K) of one network to (N,), whose mean is the fit; `feature_decays` (R,) and
    `weight_decays` (R, L) are lam_H and lam_l of lam/2 ||.||^2, and their geometric mean is the unit of the
    eigenvalues. Computed in float64 with the whole Hessian. All are NaN where `largest_gradients` (R,), the
    largest entry of |gradient|, is above `STATIONARY`: a point that is not critical has no such numbers.
    """
    parameters = [parameter.detach().double() for parameter in (network.features.value, *network.weights)]
    decays = torch.cat([feature_decays[:, None], weight_decays], 1).tolist()
    rows: list[tuple[float, ...]] = []
    for replica, lams in enumerate(decays):
        if not float(largest_gradients[replica]) <= STATIONARY:
            rows.append((math.nan,) * 4)
            continue
        objective = _objective(sample_losses, lams, network.activation == "relu")
        lam = geometric_mean(lams) if min(lams) > 0 else math.nan
        rows.append(hessian_shape(objective, [x[replica] for x in parameters], lam, gradient_tol=2 * STATIONARY))
    names = [f"hessian_{name}" for name in ("nullity", "negative", "logdet", "smallest")]
    return dict(zip(names, torch.tensor(rows, dtype=torch.float64).unbind(1), strict=True))


def _objective(sample_losses: Callable[[Tensor], Tensor], lams: Sequence[float], relu: bool) -> Callable[..., Tensor]:
    """The objective of one network as a function of H_1 (rows are samples), W_1 ... W_L."""

    def objective(H: Tensor, *Ws: Tensor) -> Tensor:
        z = H
        for W in Ws[:-1]:
            z = (z @ W.mT).relu() if relu else z @ W.mT
        total = sample_losses(z @ Ws[-1].mT).mean()
        for lam, factor in zip(lams, (H, *Ws), strict=True):
            total = total + lam / 2 * factor.square().sum()
        return total

    return objective
