"""Measuring collapse and rank, layer by layer, on any network."""

from ncbench.measure.collapse import MeasureCollapse, measure_network
from ncbench.measure.passes import Measurement, Objective, measure_once
from ncbench.measure.schedule import log_spaced
from ncbench.measure.taps import Taps, list_layers

__all__ = [
    "MeasureCollapse",
    "Measurement",
    "Objective",
    "Taps",
    "list_layers",
    "log_spaced",
    "measure_network",
    "measure_once",
]
