"""How many lanes a vector has and how many sums stay in registers: by the processor that numba compiles for.

Neither changes a bit of the result, only the speed: with more sums than registers a product falls to a fifth.
"""

from numba.core.registry import cpu_target

__all__ = ["block_of", "lanes_for"]


def _registers() -> tuple[int, int]:
    """How many vector registers there are, and of how many bytes."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    known = set(features.split(","))
    if "+avx512vl" in known:
        return 32, 64
    if "+neon" in known:
        return 32, 16
    return 16, 32 if "+avx" in known else 16


def lanes_for(itemsize: int, replicas: int, threads: int) -> int:
    """Numbers in a vector of one register (two of 16 bytes), or half of it where threads would have no replicas."""
    lanes: int = max(32, _registers()[1]) // itemsize
    return lanes // 2 if -(-replicas // lanes) < min(threads, -(-2 * replicas // lanes)) else lanes


def block_of(lanes: int, itemsize: int) -> tuple[int, int]:
    """Rows and columns of the block of sums: with one row and one entry of the other factor they fill the registers."""
    count, width = _registers()
    vectors = count // max(1, lanes * itemsize // width)
    return next(block for block, needed in (((5, 5), 31), ((3, 4), 16), ((2, 2), 8), ((1, 1), 0)) if vectors >= needed)
