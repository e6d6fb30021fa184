"""Stacks of small networks: parameters carry a leading replica axis R, products are batched."""

from ncbench.models.replica.descent import FullBatchDescent
from ncbench.models.replica.dufm import DUFM, FreeFeatures, ReplicaLinear
from ncbench.models.replica.gradient import FullBatchGradient
from ncbench.models.replica.start import start_at

__all__ = ["DUFM", "FreeFeatures", "FullBatchDescent", "FullBatchGradient", "ReplicaLinear", "start_at"]
