"""Which recorded values a claim is about, and the conditions that keep some of the replicas: typed keys of yaml."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ncbench.claims.rules import (
    Between,
    Layers,
    PositiveInt,
    Step,
    Text,
    Where,
    check_layers,
    check_one_of,
    check_values,
)

__all__ = ["Condition", "Keys", "Places", "Selection", "Values"]


class Keys(BaseModel):
    """A mapping of known keys; no value is converted: true is no number, and "1" is none either."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Places(Keys):
    """Which recorded values: the measure, where and when it was taken, and of which replicas.

    `layers` are names or globs, or `intermediate` (head.1 ... head.L-1), `inner` (head.2 ... head.L-1), `head`,
    `all`; empty: values of the whole network. `where` keeps the replicas with these replicated or swept values.
    """

    measure: Text = "loss"
    layers: Layers = ()
    stage: Literal["pre", "post", "weight"] | None = None
    split: Literal["train", "test"] = "train"
    step: Step = "last"
    where: Where = Field(default_factory=dict)


class Values(Places):
    """How these become one value per replica.

    The measure sigma is the `index`-th (from 1) over the first singular value. `source_layer` keeps the values with
    that source layer, where a layer has one for each. `reduce_layers` joins the layers' values. `relative_to` divides
    by the replica's own theory line of that name, `relative_to_first` by the same layer's value at the first
    measurement. `inside` makes it 1 where the value lies in a closed range and 0 elsewhere: its mean is a share.
    """

    index: PositiveInt | None = None
    source_layer: Text | None = None
    reduce_layers: Literal["max", "min", "mean"] | None = None
    relative_to: Text | None = None
    relative_to_first: bool = False
    inside: Between | None = None

    @model_validator(mode="after")
    def _values_agree(self) -> "Values":
        check_values(self)
        if self.one_value_per_replica:
            check_layers(self)
        return self

    @property
    def one_value_per_replica(self) -> bool:
        """Whether the layers' values have to become one, which those along the layers do not."""
        return True


class Condition(Values):
    """Keeps the replicas whose selected value lies below, above or (ends included) between the given numbers."""

    below: float | None = None
    above: float | None = None
    between: Between | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "Condition":
        check_one_of("a condition", self, ("below", "above", "between"))
        return self

    @property
    def selection(self) -> "Selection":
        """What is compared with the bound."""
        return Selection.model_construct(**{key: getattr(self, key) for key in Values.model_fields})


class Selection(Values):
    """Values of the replicas that meet the condition `given`."""

    given: Condition | None = None
