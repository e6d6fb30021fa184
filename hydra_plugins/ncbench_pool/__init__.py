"""Hydra's launcher `pool`: see ncbench.sweep."""
