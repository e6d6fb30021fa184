"""Gradient descent on an ensemble with its replicas in the lanes of vectors: the same bits on x86-64 processors.

A product of small matrices in a BLAS leaves most of a processor unused, and rounds as the library of the day likes.
Here 16 networks (8 in float64) stand in the lanes of one vector, every lane does the same fixed sequence of fused
multiply-adds, and each operation is rounded as IEEE 754 says; tested with code compiled for four kinds of processor and
run on one. Importing this package imports numba.
"""

from ncbench.models.replica.optim.lanes.descent import LaneDescent

__all__ = ["LaneDescent"]
