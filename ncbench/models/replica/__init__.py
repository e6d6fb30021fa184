"""Ensembles of small networks: parameters carry a leading replica axis R, products are batched."""

from ncbench.models.replica.dufm import DUFM, FreeFeatures, ReplicaLinear
from ncbench.models.replica.optim.dufm_gradient import FullBatchGradient
from ncbench.models.replica.optim.dufm_objective import DUFMLayout, DUFMObjective
from ncbench.models.replica.optim.ensemble_lbfgs import LBFGS, EnsembleLBFGS, lbfgs_settings
from ncbench.models.replica.optim.heavy_ball import FullBatchDescent
from ncbench.models.replica.optim.lbfgs_state import LBFGSState
from ncbench.models.replica.optim.perceptron_gradient import Layout, SquaredError
from ncbench.models.replica.perceptron import Perceptron
from ncbench.models.replica.start import start_at

__all__ = [
    "DUFM",
    "LBFGS",
    "DUFMLayout",
    "DUFMObjective",
    "EnsembleLBFGS",
    "FreeFeatures",
    "FullBatchDescent",
    "FullBatchGradient",
    "LBFGSState",
    "Layout",
    "Perceptron",
    "ReplicaLinear",
    "SquaredError",
    "lbfgs_settings",
    "start_at",
]
