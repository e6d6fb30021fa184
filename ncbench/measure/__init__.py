"""Measuring collapse and rank, layer by layer, on any network.

Resolved on first use (PEP 562), so that `python -m ncbench.measure --help` and its refusals import no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncbench.measure.callback import MeasureCollapse as MeasureCollapse
    from ncbench.measure.classifier import Calls as Calls
    from ncbench.measure.classifier import find_classifier as find_classifier
    from ncbench.measure.first_pass import Objective as Objective
    from ncbench.measure.hooks import LayerHooks as LayerHooks
    from ncbench.measure.kmeans import ClusterVariation as ClusterVariation
    from ncbench.measure.kmeans import kmeans_cluster_variation as kmeans_cluster_variation
    from ncbench.measure.layers import list_layers as list_layers
    from ncbench.measure.measure_pass import measure as measure
    from ncbench.measure.measured_steps import log_spaced as log_spaced
    from ncbench.measure.measures import Measurement as Measurement
    from ncbench.measure.metric import CollapseMetric as CollapseMetric
    from ncbench.measure.network import measure_network as measure_network
    from ncbench.measure.second_pass import nc1_streaming as nc1_streaming

_HOME = {
    "Calls": "classifier",
    "ClusterVariation": "kmeans",
    "CollapseMetric": "metric",
    "LayerHooks": "hooks",
    "MeasureCollapse": "callback",
    "Measurement": "measures",
    "Objective": "first_pass",
    "find_classifier": "classifier",
    "kmeans_cluster_variation": "kmeans",
    "list_layers": "layers",
    "log_spaced": "measured_steps",
    "measure": "measure_pass",
    "measure_network": "network",
    "nc1_streaming": "second_pass",
}

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


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ncbench.measure.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ncbench.measure' has no attribute {name!r}")
