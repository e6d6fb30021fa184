"""Stacks of small networks: parameters carry a leading replica axis R, products are batched."""

from ncbench.models.replica.descent import FullBatchDescent
from ncbench.models.replica.dufm import DUFM, FreeFeatures, ReplicaLinear
from ncbench.models.replica.gradient import FullBatchGradient
from ncbench.models.replica.lbfgs import LBFGSState
from ncbench.models.replica.perceptron import Perceptron
from ncbench.models.replica.squared import Layout, SquaredError
from ncbench.models.replica.start import start_at
from ncbench.models.replica.stationary import LBFGS, PerceptronLBFGS

__all__ = [
    "DUFM",
    "LBFGS",
    "FreeFeatures",
    "FullBatchDescent",
    "FullBatchGradient",
    "LBFGSState",
    "Layout",
    "Perceptron",
    "PerceptronLBFGS",
    "ReplicaLinear",
    "SquaredError",
    "start_at",
]
