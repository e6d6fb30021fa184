"""Claims along an axis: a trend, a slope, where a number is crossed; `types` names them with the others."""

from typing import Literal

from pydantic import model_validator

from ncbench.claims.claim import AtLeast, Decided, OnSelection
from ncbench.claims.rules import Positive, Text, broken

__all__ = ["Boundary", "Crossing", "Monotone", "Slope"]


class OnAxis(OnSelection, Decided):
    """A claim along an axis: a replicated or swept value, the layers from input to output, or the steps."""

    axis: Text

    @property
    def one_value_per_replica(self) -> bool:
        """False along the layers: there each is a place."""
        return self.axis != "layer"

    @model_validator(mode="after")
    def _axis_agrees(self) -> "OnAxis":
        if self.axis == "step" and "step" in self.model_fields_set:
            raise broken("step", self.step, "with axis=step every step is taken")
        if self.axis == "layer" and not (self.layers and self.stage and self.reduce_layers is None):
            raise broken("axis", self.axis, "needs layers and stage, and takes no reduce_layers")
        return self


class Monotone(OnAxis, AtLeast):
    """The rank correlation with the axis has this direction, or either one, and is at least so far from zero."""

    check: Literal["monotone"]
    direction: Literal["increasing", "decreasing", "either"]


class Slope(OnAxis):
    """The slope of the medians along the axis is near a number."""

    check: Literal["slope"]
    scale: Literal["loglog", "semilogx", "linear"]
    slope: float
    absolute: Positive

    @model_validator(mode="after")
    def _scale_has_a_place_for_layers(self) -> "Slope":
        if self.axis == "layer" and self.scale != "linear":
            raise broken("scale", self.scale, "layers are counted, not measured; use linear")
        return self


class Boundary(OnSelection, Decided):
    """Where the value crosses a threshold along `axis`, as a power of `against`."""

    check: Literal["boundary"]
    axis: Text
    against: Text
    threshold: Positive
    slope: float
    absolute: Positive

    @model_validator(mode="after")
    def _axes_differ(self) -> "Boundary":
        for key in ("axis", "against"):
            if getattr(self, key) in ("layer", "step"):
                raise broken(key, getattr(self, key), "must be a replicated or swept value")
        if self.axis == self.against:
            raise broken("against", self.against, "has to differ from axis")
        return self


class Crossing(OnSelection):
    """Where the medians over replicas cross a threshold along `axis`: once, near a number."""

    check: Literal["crossing"]
    axis: Text
    threshold: Positive
    value: Positive
    tolerance: Positive  # relative

    @model_validator(mode="after")
    def _axis_is_of_replicas(self) -> "Crossing":
        if self.axis in ("layer", "step"):
            raise broken("axis", self.axis, "must be a replicated or swept value")
        return self
