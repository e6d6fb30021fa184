"""Whether a run will record what its claims are about, as far as its configuration tells: a slip is refused at once.

A claim names a measure and, but for those of the whole network, layers and a stage. What a configuration does not tell
is let through: the layers of a network of one's own, globs, and runs that `where` picks out of a sweep.
"""

import difflib
import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from ncbench.claims.parse import parse_claims
from ncbench.claims.selection import Places
from ncbench.config.root import Config
from ncbench.config.rules import is_list
from ncbench.records.layers import LAYER_WORDS, input_of
from ncbench.run.hydra_messages import experiments
from ncbench.run.measured import (
    ANY_STAGE,
    BESIDE,
    OF_HESSIAN,
    OF_KMEANS,
    OF_PERCEPTRON_LAYERS,
    OF_PERCEPTRONS,
    ON_REQUEST,
    WEIGHT,
    asked_measures,
    measured_layers,
    measured_names,
    stages_of,
)

__all__ = ["Slip", "check_claimed", "slips_of"]

_LINE = "line:"  # in front of a theory line's name
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Slip:
    """What a claim asks for in vain: the keys that lead to it, its value, and the rule."""

    keys: tuple[str, ...]
    value: Any
    rule: str

    def __str__(self) -> str:
        value = f"[{', '.join(self.value)}]" if is_list(self.value) else self.value
        return f"claims.{'.'.join(self.keys)}={value}: {self.rule}"


def check_claimed(configs: Sequence[Config]) -> None:
    """ValueError of one line for a claim about a measure, split, layer or stage that none of these runs records.

    The runs are those of one command, of which one that records it is enough. What a claim of an experiment of this
    package says is let through, so that an experiment can be run at another depth or with other measures: its report
    then says that the claim cannot be judged.
    """
    lacking: dict[tuple[str, ...], Slip] | None = None
    for config in configs:
        slips = {slip.keys: slip for slip in slips_of(config)}
        lacking = slips if lacking is None else {keys: slip for keys, slip in lacking.items() if keys in slips}
        if not lacking:
            return
    for slip in (lacking or {}).values():
        if not _in_this_package(slip):
            raise ValueError(str(slip))


def slips_of(config: Config) -> Iterator[Slip]:
    """The slips of every claim, one for each selection."""
    for name, claim in parse_claims(config.claims).items():
        for keys, places, elsewhere in _places(claim, (name,), frozenset(config.replicate)):
            slip = None if elsewhere else _slip(config, keys, places)
            if slip is not None:
                yield slip


def _places(model: Any, keys: tuple[str, ...], replicated: frozenset[str], elsewhere: bool = False) -> Iterator[Any]:
    """The selections in a claim: the keys that lead there, the selection, whether `where` means runs of a sweep."""
    if isinstance(model, Places):
        elsewhere = elsewhere or not replicated.issuperset(model.where)
        yield keys, model, elsewhere
    for name in type(model).model_fields:
        if isinstance(inner := getattr(model, name), Places):
            yield from _places(inner, (*keys, name), replicated, elsewhere)


def _slip(config: Config, keys: tuple[str, ...], places: Places) -> Slip | None:
    """The first thing that a selection asks for in vain."""
    measure, splits = places.measure, list(config.measure.splits)
    of_layers, of_network = measured_names(config)
    stages: tuple[str, ...] = ()
    if not measure.startswith(_LINE):
        if measure not in of_layers and measure not in of_network:
            return Slip((*keys, "measure"), measure, _of_measure(measure, config, [*of_network, *of_layers]))
        stages = of_layers.get(measure, ())
        if bool(places.layers) != bool(stages):
            rule = (
                "is a measure of layers; add layers and stage"
                if stages
                else "is of the whole network; leave out layers"
            )
            return Slip((*keys, "measure"), measure, rule)
        if places.split not in splits and stages != WEIGHT and places.stage != "weight":
            return Slip((*keys, "split"), places.split, f"this run measures {', '.join(splits)} (measure.splits)")
    slip = _of_layers(config, keys, places, stages) if places.layers and stages else None
    return slip or _of_lines(config, keys, places)


def _of_lines(config: Config, keys: tuple[str, ...], places: Places) -> Slip | None:
    """A theory line that a selection, or a claim on it, names and that the run does not draw."""
    drawn = [line["name"] for line in config.references]
    asked = {key: getattr(places, key, None) or () for key in ("reference", "relative_to", "levels")}
    asked["measure"] = places.measure.removeprefix(_LINE) if places.measure.startswith(_LINE) else ()
    for key, names in asked.items():
        for name in (names,) if isinstance(names, str) else names:
            if name not in drawn:
                there = f"references has {', '.join(drawn)}" if drawn else "references is empty"
                return Slip((*keys, key), getattr(places, key), f"there is no theory line {name}; {there}")
    return None


def _of_measure(name: str, config: Config, recorded: Sequence[str]) -> str:
    """Why a measure is not recorded, and what would record it."""
    parents = {beside: measure for measure, beside in BESIDE.items()}
    if (wanted := parents.get(name, name)) in ON_REQUEST:
        before = config.measure.measures
        others = [*before, wanted] if is_list(before) else [wanted] if before == "default" else [before, wanted]
        return f"is recorded on request only; measure.measures=[{','.join(others)}] asks for it"
    if name in OF_HESSIAN:
        return "needs model=dufm and measure.hessian=true"
    if name in OF_KMEANS:
        return "needs model=perceptron and measure.kmeans=true"
    if name in OF_PERCEPTRONS or name in OF_PERCEPTRON_LAYERS:
        return "is recorded of model=perceptron only"
    if name == "grad_max":
        return "is recorded of full-batch problems only"
    known = [*recorded, *ON_REQUEST]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    own = "one of your own is a key of measure.moments or measure.matrices"
    return f"no such measure{hint}; this run records {', '.join(recorded)}; {own}"


def _of_layers(config: Config, keys: tuple[str, ...], places: Places, stages: Sequence[str]) -> Slip | None:
    """What is wrong with the layers or the stage, of a measure that is taken at these stages."""
    if places.stage is not None and places.stage not in stages:
        return Slip((*keys, "stage"), places.stage, f"{places.measure} is measured at {', '.join(stages)}")
    measured = measured_layers(config)
    if measured is None:
        return None
    for asked in places.layers:
        if asked in LAYER_WORDS:
            continue
        pattern = asked.partition("@")[0]  # NAME@2 is a module's second call
        if "self_duality" in asked_measures(config) and asked.endswith(input_of("")):
            continue  # it measures the input of a classifier too
        if any(_GLOB.search(name) and (_GLOB.search(pattern) or _may_match(name, pattern)) for name in measured):
            continue
        found = fnmatch.filter(measured, pattern)
        if not found:
            rule = f"{asked} is not measured{_near_layer(pattern, measured)}; {', '.join(measured)} are"
            return Slip((*keys, "layers"), places.layers, rule)
        has = {stage for name in found for stage in stages_of(config, name)}
        if places.stage is not None and places.stage not in has:
            rule = f"{asked} has {', '.join(stage for stage in ANY_STAGE if stage in has)}"
            return Slip((*keys, "stage"), places.stage, rule)
    return None


def _may_match(glob: str, name: str) -> bool:
    """Whether a glob of `measure.layers` may stand for a name: its `**` and `*` are looked at generously."""
    return fnmatch.fnmatchcase(name, glob.replace("**.", "*"))


def _near_layer(name: str, measured: Sequence[str]) -> str:
    """A hint for a misspelt layer: a similar name, or else the layer of that number."""
    names = [layer for layer in measured if not _GLOB.search(layer)]
    number = re.search(r"\d+$", name)
    near = difflib.get_close_matches(name, names, n=1)
    near += [layer for layer in names if number and re.search(r"\d+$", layer) and layer.endswith(f".{number[0]}")]
    return f" (did you mean {near[0]}?)" if near else ""


def _in_this_package(slip: Slip) -> bool:
    """Whether an experiment of this package has a claim of that name with the same value there."""
    name, *rest = slip.keys
    for written in _claims_named(name):
        value: Any = written
        for key in rest:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None and "paper_claim" in written:
            return True  # the paper's standard says it
        values = tuple(value) if is_list(value) else (value,)
        if values == (slip.value if is_list(slip.value) else (slip.value,)):
            return True
    return False


@lru_cache
def _claims_named(name: str) -> list[Any]:
    """What the experiments of this package write under that name of a claim."""
    texts = [path.read_text(encoding="utf-8") for path in experiments().values()]
    read = [yaml.safe_load(text) for text in texts if re.search(rf"^\s+{re.escape(name)}:", text, re.MULTILINE)]
    return [values["claims"][name] for values in read if name in (values.get("claims") or {})]
