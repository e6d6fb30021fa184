"""Measuring collapse and rank, layer by layer, on any network."""

from ncbench.measure.cluster import ClusterVariation, kmeans_cluster_variation
from ncbench.measure.collapse import MeasureCollapse
from ncbench.measure.layers import list_layers
from ncbench.measure.measures import Measurement
from ncbench.measure.metric import CollapseMetric
from ncbench.measure.network import measure_network
from ncbench.measure.passes import measure_once
from ncbench.measure.schedule import log_spaced
from ncbench.measure.second import nc1_streaming
from ncbench.measure.sums import Objective
from ncbench.measure.taps import Taps

__all__ = [
    "ClusterVariation",
    "CollapseMetric",
    "MeasureCollapse",
    "Measurement",
    "Objective",
    "Taps",
    "kmeans_cluster_variation",
    "list_layers",
    "log_spaced",
    "measure_network",
    "measure_once",
    "nc1_streaming",
]
