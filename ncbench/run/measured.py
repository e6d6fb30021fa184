"""What a run will record, as far as its configuration tells: the measures by name, the layers and their stages.

Needs no torch: a command line is checked with it before anything heavy is imported.
"""

import re

from ncbench.config.models import Network
from ncbench.config.root import Config
from ncbench.config.rules import is_list
from ncbench.records.layers import FEATURES, head_number, input_of, measured_by_default

__all__ = [
    "ALWAYS",
    "ANY_STAGE",
    "BESIDE",
    "OF_HESSIAN",
    "OF_KMEANS",
    "OF_NETWORK",
    "OF_PERCEPTRONS",
    "OF_PERCEPTRON_LAYERS",
    "ON_REQUEST",
    "WEIGHT",
    "WORDS",
    "asked_measures",
    "measured_layers",
    "measured_names",
    "stages_of",
]

# The names of measures, as in `ncbench.measure.names` and the modules of `ncbench.training`, which need torch; a test
# compares them. Of the values of layers: at which stages.
ANY_STAGE, _OUTPUTS, WEIGHT = ("pre", "post", "weight"), ("pre", "post"), ("weight",)
ALWAYS = {
    **dict.fromkeys(("tcv", "tcv_relative", "dnc1", "dnc2"), _OUTPUTS),
    **dict.fromkeys(("rank", "stable_rank", "effective_rank", "sigma"), ANY_STAGE),
    **dict.fromkeys(("tail", "norm"), WEIGHT),
}
ON_REQUEST = {
    **dict.fromkeys(("cdnv", "orthogonal_frame_error", "tcv_floor", "nc1", "separation_fuzziness"), _OUTPUTS),
    **dict.fromkeys(("ncc_accuracy", "ncc_mismatch"), _OUTPUTS),
    **dict.fromkeys(("etf_error", "equinorm", "equiangularity"), ANY_STAGE),
    "self_duality": WEIGHT,
}
WORDS = {
    "default": (),
    "nc": ("nc1", "equinorm", "equiangularity", "self_duality", "ncc_mismatch"),
    "nc2": ("equinorm", "equiangularity"),
    "nc3": ("self_duality",),
    "nc4": ("ncc_mismatch",),
}
BESIDE = {"nc1": "nc1_rank", "separation_fuzziness": "separation_rank"}  # what comes with a measure on request
OF_NETWORK = ("loss", "fit", "regulariser", "accuracy")
OF_HESSIAN = ("hessian_nullity", "hessian_negative", "hessian_logdet", "hessian_smallest")
OF_PERCEPTRONS = ("dead_layers", "mode_error", "modes_alive", "centroid_distance")  # values of the whole network
OF_PERCEPTRON_LAYERS = {
    "gram_block": _OUTPUTS,
    **dict.fromkeys(("distance", "residual", "rank_bound", "tightness", "curvature"), WEIGHT),
    **dict.fromkeys(("tcv_bound", "tcv_tightness", "tcv_bound_analytic", "tcv_tightness_analytic"), WEIGHT),
}
OF_KMEANS = dict.fromkeys(("tcv_kmeans", "tcv_kmeans_relative"), _OUTPUTS)

_INSERTED = re.compile(r"(^|\.)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(\.|$)")


def asked_measures(config: Config) -> list[str]:
    """The names that `measure.measures` asks for, its words written out."""
    measures = config.measure.measures
    asked = list(measures) if is_list(measures) else [measures]
    return [name for word in asked for name in WORDS.get(word, (word,))]


def measured_names(config: Config) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The measures that a run of this configuration records: of layers, with their stages, and of the whole network.

    A few more may be among them than a run has, such as the accuracy of an autoencoder; none is left out.
    """
    measure, wanted = config.measure, asked_measures(config)
    of_layers = ALWAYS | {name: ON_REQUEST.get(name, ANY_STAGE) for name in wanted}
    of_layers |= {BESIDE[name]: _OUTPUTS for name in wanted if name in BESIDE}
    of_layers |= dict.fromkeys(measure.moments, _OUTPUTS) | dict.fromkeys(measure.matrices, ANY_STAGE)
    of_network = [*OF_NETWORK, *(["grad_max"] if config.schedule.full_batch else [])]
    of_network += OF_HESSIAN if measure.hessian else ()
    if config.model.on_inputs:
        of_layers |= OF_PERCEPTRON_LAYERS | (OF_KMEANS if measure.kmeans else {})
        of_network += OF_PERCEPTRONS
    return of_layers, of_network


def measured_layers(config: Config) -> list[str] | None:
    """Names and globs of what is measured; None where only the network tells."""
    model, layers = config.model, config.measure.layers
    if layers is None and isinstance(model, Network):
        layers = None if model.classifier is None else [input_of(model.classifier), model.classifier]
    elif layers is None:
        layers = measured_by_default(model.depth)
    # In names as a wrapped network prints them parts are left out of the records.
    return None if layers is None or any(_INSERTED.search(name) for name in layers) else list(layers)


def stages_of(config: Config, layer: str) -> tuple[str, ...]:
    """The stages at which a layer may be recorded: all, where its name does not tell."""
    model, number = config.model, head_number(layer)
    if isinstance(model, Network) or model.public_target is None:
        return ANY_STAGE
    if number is None:
        return ("post",) if layer == FEATURES and model.full_batch else ANY_STAGE
    first = getattr(model, "first_activation", None) if number == 1 else None
    plain = (first or model.activation) == "linear" and not getattr(model, "residual", False)
    return ("pre", "weight") if number == model.depth or plain else ANY_STAGE
