"""Classes of unequal size and labels that are wrong, both as functions of (seed, class, place in the class).

STEP imbalance: arXiv 2410.23169, Appendix A. (R, rho)-STEP: a share rho of the K classes has R times fewer samples.
Letters: N samples, K classes, n_c samples of class c.
"""

from fractions import Fraction

import torch
from torch import Tensor

from ncbench.data.order import hash64

__all__ = ["made_uneven", "noisy_labels", "step_sizes", "thinned"]

# Beside those of `ncbench.data.order`: one word per purpose keeps the streams of the same seed apart.
THIN, FLIPPED, FLIPPED_TO, MIXED = 4, 5, 6, 9
SHARE = 0.005  # of a class: how far a share as it is written, 0.333 of three classes, may be from a whole number


def step_sizes(counts: list[int], ratio: float, minority: float) -> list[int]:
    """How many samples each class keeps: the first (1 - rho) K classes all of them, the last rho K floor(n_c / R).

    Raises ValueError for a ratio below 1, where rho K is not a whole number in 1..K-1, and where a class is left
    without a sample.

    >>> step_sizes([500, 500, 500, 500], ratio=10, minority=0.5)
    [500, 500, 50, 50]
    """
    if not ratio >= 1:
        raise ValueError(f"imbalance={ratio:g} must be at least 1, the factor between the sizes of two classes")
    K = len(counts)
    few = round(minority * K)
    if abs(few - minority * K) > SHARE or not 1 <= few < K:
        raise ValueError(
            f"minority={minority:g} must be the share of a whole number of classes between 1 and {K - 1}, and of {K} "
            f"classes it is {minority * K:g}"
        )
    # Exactly: 30 / 1.1 in floating point is 27.27..., but n / (n / m) may fall below m.
    sizes = [*counts[: K - few], *(int(n / Fraction(str(ratio))) for n in counts[K - few :])]
    if 0 in sizes:
        c = sizes.index(0)
        raise ValueError(f"imbalance={ratio:g} must be at most {counts[c]}, the number of samples of class {c}")
    return sizes


def thinned(labels: Tensor, sizes: list[int], seed: int) -> Tensor:
    """Positions (sorted, int64) of the samples that stay where class c keeps sizes[c] of its n_c.

    What stays of a class depends on (seed, c, n_c) alone; what stays for a smaller size is part of that for a larger.
    """
    kept = []
    for c, size in enumerate(sizes):
        members = torch.nonzero(labels == c).flatten()
        keys = hash64(seed, THIN, c, torch.arange(len(members)))
        kept.append(members[torch.argsort(keys)[:size]])
    return torch.cat(kept).sort().values


def noisy_labels(labels: Tensor, num_classes: int, share: float, seed: int) -> Tensor:
    """The labels (N,) with floor(share n_c + 1/2) of each class c replaced by one of the K - 1 others, each as likely.

    The class of a replaced label is drawn for every sample by itself, so that the classes are of unequal size
    afterwards: n_c has mean n and variance p n (K-2)/(K-1) where all n_c = n before. Which are replaced depends on
    (seed, c, n_c) alone; those of a smaller share are among those of a larger one, with the same new label. Raises
    ValueError for a share outside [0, 1].

    >>> noisy_labels(torch.tensor([0, 0, 0, 0, 1, 1]), 2, 0.5, seed=0).bincount().tolist()
    [3, 3]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"label_noise={share:g} must be in [0, 1], the share of the labels that are replaced")
    noisy = labels.clone()
    for c in range(num_classes):
        members = torch.nonzero(labels == c).flatten()
        places = torch.arange(len(members))
        replaced = torch.argsort(hash64(seed, FLIPPED, c, places))[: int(share * len(members) + 0.5)]
        bits = hash64(seed, FLIPPED_TO, c, places[replaced])
        other = (((bits >> 40) & (2**24 - 1)) * (num_classes - 1)) >> 24
        noisy[members[replaced]] = other + (other >= c)
    return noisy


def made_uneven(
    labels: Tensor, num_classes: int, *, imbalance: float | None, minority: float, label_noise: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Positions (n,) of the samples that stay, sorted by the label that the network is told, and these labels (n,).

    `labels` (N,) are sorted by class. Noise comes after imbalance. Samples of one such label are in an order drawn from
    `seed`: sorted by their own class, the first of them would be those whose labels are wrong. Raises ValueError as the
    functions above.
    """
    kept = torch.arange(len(labels))
    if imbalance not in (None, 1):
        sizes = step_sizes(torch.bincount(labels, minlength=num_classes).tolist(), imbalance, minority)
        kept = thinned(labels, sizes, seed)
    if not label_noise:
        return kept, labels[kept]
    told = noisy_labels(labels[kept], num_classes, label_noise, seed)
    mixed = torch.argsort(hash64(seed, MIXED, 0, torch.arange(len(told))))
    by_class = mixed[torch.argsort(told[mixed], stable=True)]
    return kept[by_class], told[by_class]
