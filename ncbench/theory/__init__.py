"""Closed forms of the papers: plain numbers in, float64 out; no networks, no training."""

from ncbench.theory import dufm_mse

__all__ = ["dufm_mse"]
