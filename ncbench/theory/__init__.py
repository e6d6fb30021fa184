"""Closed forms of the papers: plain numbers in, float64 out; no networks, no training."""

from ncbench.theory import deep_linear, dufm_ce, dufm_mse, mixture, rank_collapse, representation_cost
from ncbench.theory.atlas_table import atlas

__all__ = ["atlas", "deep_linear", "dufm_ce", "dufm_mse", "mixture", "rank_collapse", "representation_cost"]
