"""Measuring collapse and rank, layer by layer, on any network."""

from ncbench.measure.callback import MeasureCollapse
from ncbench.measure.classifier import Calls, find_classifier
from ncbench.measure.first_pass import Objective
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.kmeans import ClusterVariation, kmeans_cluster_variation
from ncbench.measure.layers import list_layers
from ncbench.measure.measure_pass import measure
from ncbench.measure.measured_steps import log_spaced
from ncbench.measure.measures import Measurement
from ncbench.measure.metric import CollapseMetric
from ncbench.measure.network import measure_network
from ncbench.measure.second_pass import nc1_streaming

__all__ = [
    "Calls",
    "ClusterVariation",
    "CollapseMetric",
    "LayerHooks",
    "MeasureCollapse",
    "Measurement",
    "Objective",
    "find_classifier",
    "kmeans_cluster_variation",
    "list_layers",
    "log_spaced",
    "measure",
    "measure_network",
    "nc1_streaming",
]
