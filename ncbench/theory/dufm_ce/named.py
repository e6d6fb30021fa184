"""The known low-rank structures of class-mean logits by their names, as configurations and theory lines give them.

Source: arXiv 2410.23169, equation 5 (pairs) and derived; sections named in docs/theory.md.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from ncbench.core import frames
from ncbench.theory.arguments import at_least

__all__ = ["NAMES", "check_structure", "named_structure", "structures"]

NAMES = ("dnc", "pairs", "polygon", "triangular", "antiprism")
_BLOCKS = re.compile(r"\[\s*[1-9]\d*(\s*,\s*[1-9]\d*)*\s*\]")


def check_structure(name: str | Sequence[int], key: str = "structure") -> str:
    """The name as a text, blocks as "[3, 2]"; `key` is what the error calls it.

    Raises ValueError of one line unless it is one of NAMES, or positive sizes of blocks, as a text or a list.
    """
    text = name if isinstance(name, str) else str(list(name)) if isinstance(name, Sequence) else ""
    if text not in NAMES and not _BLOCKS.fullmatch(text):
        raise ValueError(f"{key}={name}: must be {', '.join(NAMES)}, or sizes of simplex blocks such as [3, 2]")
    return text


def named_structure(name: str | Sequence[int], num_classes: int, key: str = "structure") -> Tensor:
    """M (K, K) at a scale of its own: one of NAMES, or simplex blocks of sizes such as [3, 2].

    dnc is the block [K]; pairs are the blocks [2, 2, ...], with a scalar for the last class of odd K; polygon has
    M_ij = cos(2 pi (i - j)/K); triangular is the centred Gram matrix of the triangular graph T_s, K = s(s - 1)/2;
    antiprism has pairs and a square antiprism of the last eight classes (even K >= 8; found by training here).

    >>> named_structure("pairs", 2)
    tensor([[ 1., -1.],
            [-1.,  1.]], dtype=torch.float64)

    Raises ValueError for another name, sizes that do not add up to K, or a structure that K classes do not have.
    """
    K = at_least("num_classes", num_classes, 2)
    name = check_structure(name, key)
    if name == "pairs":
        return frames.pair_blocks(K)
    if name == "dnc":
        return frames.simplex_blocks([K])
    if name == "polygon":
        if K < 3:
            raise ValueError(f"{key}=polygon needs at least 3 classes, got {K}")
        return frames.polygon(K)
    if name == "triangular":
        s = _vertices(K)
        if s is None:
            raise ValueError(f"{key}=triangular needs s(s - 1)/2 classes, such as 6, 10 or 15, got {K}")
        return frames.centred_triangular_gram(s)
    if name == "antiprism":
        return frames.antiprism_blocks(K)
    sizes = [int(size) for size in name.strip("[] ").split(",")]
    if sum(sizes) != K:
        raise ValueError(f"{key}={name}: the sizes of its blocks must add up to {K} classes")
    return frames.simplex_blocks(sizes)


def structures(num_classes: int) -> Iterator[tuple[str, Tensor]]:
    """(name, M (K, K)) of the known structures: simplex blocks of every partition of K, polygon, graph, antiprism.

    A partition [K] is DNC, [2, 2, ...] the pair blocks. Blocks of size 1 are scalars; at most one is tried.
    """
    K = at_least("num_classes", num_classes, 2)
    for sizes in _partitions(K, K):
        if sizes.count(1) <= 1:
            yield str(sizes), frames.simplex_blocks(sizes)
    if K >= 3:
        yield "polygon", frames.polygon(K)
    s = _vertices(K)
    if s is not None and s >= 5:  # T_4 is the pair structure of six classes
        yield f"triangular graph T_{s}", frames.centred_triangular_gram(s)
    if K >= 8 and K % 2 == 0:
        yield "antiprism", frames.antiprism_blocks(K)


def _vertices(K: int) -> int | None:
    """s >= 4 with K = s(s - 1)/2, or None."""
    s = (1 + int(np.sqrt(8 * K + 1))) // 2
    return s if s >= 4 and s * (s - 1) == 2 * K else None


def _partitions(total: int, largest: int) -> Iterator[list[int]]:
    """Partitions of `total` into non-increasing parts of at most `largest`."""
    if total == 0:
        yield []
    for part in range(min(total, largest), 0, -1):
        for rest in _partitions(total - part, part):
            yield [part, *rest]
