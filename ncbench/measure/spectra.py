"""Singular values of class means and weights, and what is left out where there are thousands of classes.

The class means of the logits are K x K: their singular values take K^3, 2 s of one core for K = 2000 and hours for the
21 841 classes of ImageNet, at every measurement, and a Gram matrix takes 8 K^2 bytes.
"""

import torch
from torch import Tensor

from ncbench import core
from ncbench.measure.notices import Notices

__all__ = ["MOST_CLASSES", "are_kept", "of_class_means", "of_weight_matrix"]

MOST_CLASSES = 2048


def of_class_means(M: Tensor, at: str, notices: Notices) -> Tensor:
    """The singular values (R, min(K, d)) of class means M (R, K, d) of the layer and stage `at`.

    One NaN in their place, (R, 1), where both K and d are above `MOST_CLASSES`, which the log says.
    """
    if min(M.shape[-2:]) <= MOST_CLASSES:
        return core.singular_values(M)
    notices.warn(
        "spectrum",
        at,
        "layer %s: its %d x %d class means have more than %d singular values, which are left out: there is no "
        "spectrum, and dnc2, rank, stable_rank and effective_rank are NaN",
        at,
        *M.shape[-2:],
        MOST_CLASSES,
    )
    return M.new_full((*M.shape[:-2], 1), torch.nan)


def of_weight_matrix(W: Tensor, layer: str, notices: Notices) -> Tensor:
    """The singular values (R, min(d_out, d_in)) of a weight W (R, d_out, d_in); the log says where they take long."""
    if min(W.shape[-2:]) > MOST_CLASSES:
        notices.warn(
            "spectrum",
            f"{layer} weight",
            "layer %s: the singular values of its %d x %d weight may take minutes at every measurement",
            layer,
            *W.shape[-2:],
        )
    return core.singular_values(W)


def are_kept(num_classes: int, notices: Notices) -> bool:
    """Whether class means, K x d, and their K x K Gram matrices are kept; the log says where they are not."""
    if num_classes > MOST_CLASSES:
        message = "Gram matrices and class means of %d classes are not kept, only of up to %d"
        notices.warn("grams", "", message, num_classes, MOST_CLASSES)
    return num_classes <= MOST_CLASSES
