"""A made-up record in which chosen values are what a claim's selection finds: the selection, turned round.

`World.plant` writes what has to be recorded (per layer, step, source layer, relative to lines or to first values) so
that the selection gives each replica a wished-for value. Everything that it must not look at (other replicas, steps,
layers) gets another one.
"""

import fnmatch
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ncbench.claims.selection import Condition
from ncbench.records.layers import input_of, layer_key, layers_between, measured_by_default
from tests.helpers.run_folders import LAST, write_values

STEPS = (0, 1, 10, 100)  # before LAST
Values = list[float]


class World:
    """Replicas of an experiment, one run per point of its grid, and what was recorded of them."""

    def __init__(self, config: Any, most_seeds: int) -> None:
        self.config = config
        axes = {name: _values(name, axis, most_seeds) for name, axis in config.replicate.items()}
        grid = {key.rpartition(".")[2]: list(values) for key, values in config.grid.items() if values is not None}
        self.runs = [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]
        points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
        self.replicas = [
            {"run": number, **run, **point} for number, run in enumerate(self.runs) for point in points or [{}]
        ]
        for point in self.replicas:
            if "noise_ratio" in point:  # as in real records
                decay = point.get("weight_decay", getattr(getattr(config, "objective", None), "weight_decay", 1.0))
                point["noise"] = point["noise_ratio"] * decay**0.5
        self.cells: dict[tuple[str, int], dict[int, Any]] = {}  # (key of write_values, step) -> replica -> value
        self.lines: dict[str, dict[int, float]] = {}
        self.same: set[str] = set()  # lines that have one value for all replicas

    def clear(self) -> None:
        """Forgets what was planted."""
        self.cells, self.lines = {}, {}

    def chosen(self, where: Mapping[str, Any]) -> list[int]:
        """The replicas that `where` keeps."""
        return [i for i, point in enumerate(self.replicas) if all(_meets(point, *item) for item in where.items())]

    def depth(self, replica: int) -> int:
        """The depth of a replica's network; one hidden layer's worth where the model has no such key."""
        point = self.replicas[replica]
        return int(point.get("depth", getattr(self.config.model, "depth", 3)))

    def layers(self, selection: Any, replica: int) -> list[str]:
        """The layers that a selection looks at, from input to output, that have its stage."""
        depth = self.depth(replica)
        (first, *_) = selection.layers
        if first in ("intermediate", "inner"):
            named = layers_between(first, depth)
        else:
            classifier = getattr(self.config.model, "classifier", None)  # of a network without a head of ours
            whole = [input_of(classifier), classifier] if classifier else measured_by_default(depth)
            known = [name for name in whole if _has(name, selection.stage, depth)]
            globs = {"head": ["head.*"], "all": ["*"]}.get(first, list(selection.layers))
            named = [name for name in known if any(fnmatch.fnmatch(name, glob) for glob in globs)]
        behind = getattr(selection, "source_layer", None)
        return [name for name in named if behind is None or layer_key(name) > layer_key(behind)]

    def line(self, name: str, replica: int) -> float:
        """The theory line of a replica; made up where it has none, another one for each replica unless in `same`."""
        made_up = 0.4 if name in self.same else 0.4 + 0.01 * (replica % 7)
        return self.lines.setdefault(name, {}).setdefault(replica, made_up)

    def plant(self, selection: Any, values: Mapping[int, float], step: int | None = None, first: float = 2.0) -> None:
        """Records that make the selection find these values (replica -> value), at its own step or another."""
        at = self.step(selection) if step is None else step
        for replica, value in values.items():
            over, inside = getattr(selection, "relative_to", None), getattr(selection, "inside", None)
            if inside is not None:
                value = sum(inside) / 2 if value > 0 else more(inside[1]) if replica % 2 else less(inside[0])
            wished = value * (self.line(over, replica) if over else 1.0)
            if selection.measure.startswith("line:"):
                self.lines.setdefault(selection.measure.removeprefix("line:"), {})[replica] = wished
                continue
            if not selection.layers:
                self._put(selection, "", replica, at, wished, first)
                continue
            layers = self.layers(selection, replica)
            assert layers, f"{selection.layers}: no such layer in a network of depth {self.depth(replica)}"
            parts = _parts(wished, len(layers), getattr(selection, "reduce_layers", None), turn=replica)
            for layer, part in zip(layers, parts, strict=True):
                self._put(selection, layer, replica, at, part, first)

    def plant_layers(self, selection: Any, values: Mapping[int, Sequence[float]]) -> None:
        """Records with a value for each of the chosen layers."""
        for replica, parts in values.items():
            over = getattr(selection, "relative_to", None)
            line = self.line(over, replica) if over else 1.0
            for layer, part in zip(self.layers(selection, replica), parts, strict=True):
                self._put(selection, layer, replica, self.step(selection), part * line, 2.0)

    def step(self, selection: Any) -> int:
        """The step that is looked at."""
        return {"last": LAST, "first": STEPS[0]}.get(selection.step, selection.step)

    def meet(self, condition: Condition, replicas: Sequence[int], met: bool) -> None:
        """Records by which replicas meet a condition, or do not."""
        if condition.between is not None:
            low, high = condition.between
            value = (low + high) / 2 if met else more(high)
        elif condition.below is not None:
            value = less(condition.below) if met else more(condition.below)
        else:
            assert condition.above is not None
            value = more(condition.above) if met else less(condition.above)
        self.plant(condition.selection, dict.fromkeys(replicas, value))

    def write(self, folder: Path, claims: Mapping[str, Any]) -> Path:
        """The run folders, one for each point of the grid."""
        self.cells.setdefault(("loss", LAST), {})
        for name in self.same:
            for i in range(len(self.replicas)):
                self.line(name, i)
        for number in range(len(self.runs)):
            members = [i for i, point in enumerate(self.replicas) if point["run"] == number]
            values: dict[str, Any] = {}
            spectra: dict[str, Any] = {}
            for key, step in sorted(self.cells):
                cell = self.cells[key, step]
                if key != "loss" and not any(i in cell for i in members):
                    continue
                place, _, index = key.partition("#")
                if index:
                    rows = [[1.0] * (int(index) - 1) + [cell.get(i, 0.5)] for i in members]
                    spectra.setdefault(place, {})[step] = rows
                else:
                    values.setdefault(key, {})[step] = [cell.get(i, 1.0) for i in members]
            lines = [
                {"name": name, "measure": "loss", "value": of[i], "formula": "", "arguments": {}, "replicas": [place]}
                | {"why": None, "values": None}
                for name, of in self.lines.items()
                for place, i in enumerate(members)
                if i in of
            ]
            swept = [{key: entry for key, entry in self.replicas[i].items() if key != "run"} for i in members]
            write_values(
                folder / str(number),
                values,
                dict(claims),
                spectra=spectra or None,
                lines=lines,
                swept=swept,
                depth=self.depth(members[0]),
                name=self.config.name,
                reproduces=self.config.reproduces,
            )
        return folder

    def _put(self, selection: Any, layer: str, replica: int, step: int, value: float, first: float) -> None:
        place = f"{layer}.{selection.stage}" if layer else ""
        if getattr(selection, "index", None) is not None:
            key = f"{place}#{selection.index}"
        else:
            source = f"@{selection.source_layer}" if getattr(selection, "source_layer", None) else ""
            key = f"{place}.{selection.measure}".lstrip(".") + source
        if selection.split == "test":  # on the other side on the training split, which the claim is not about
            self.cells.setdefault((key, step), {}).setdefault(replica, value * (5 if replica % 2 else 0.2))
            key = f"test.{key}"
        if getattr(selection, "relative_to_first", False):
            self._set(key, STEPS[0], replica, first)
            value *= first
        self._set(key, step, replica, value)
        if step == LAST:  # on the other side of whatever was wished for, at a step that nobody asked about
            for other in STEPS[:1] if getattr(selection, "index", None) else STEPS[:2]:
                self.cells.setdefault((key, other), {}).setdefault(replica, value * (5 if replica % 2 else 0.2))

    def _set(self, key: str, step: int, replica: int, value: float) -> None:
        cell = self.cells.setdefault((key, step), {})
        before = cell.get(replica)
        assert before is None or step != LAST or math.isclose(before, value), f"{key} is wished to be two values"
        cell[replica] = value


def less(bound: float) -> float:
    """A number a little below another."""
    return bound - 0.02 * max(abs(bound), 1e-9) if bound else -0.02


def more(bound: float) -> float:
    """A number a little above another."""
    return bound + 0.02 * max(abs(bound), 1e-9) if bound else 0.02


def _parts(value: float, count: int, how: str | None, turn: int) -> Values:
    """Values of `count` layers that are joined to `value`, which is that of one of them: another for each replica."""
    if how is None or count == 1:
        return [value] * count
    if how == "mean":
        shifts = [0.1 * (place - (count - 1) / 2) / count for place in range(count)]
        return [value * (1 + shift) for shift in shifts]
    other = value / 2 if (how == "max") == (value > 0) else value * 2
    if value == 0:
        other = -1.0 if how == "max" else 1.0
    parts = [other] * count
    parts[turn % count] = value
    return parts


def _values(name: str, axis: Any, most_seeds: int) -> list[Any]:
    values = list(range(axis)) if isinstance(axis, int) else list(axis)
    return values[:most_seeds] if name == "seed" else values


def _meets(point: Mapping[str, Any], name: str, wanted: Any) -> bool:
    assert name in point, f"{name} is neither replicated nor swept"
    choices = wanted if isinstance(wanted, list | tuple) else [wanted]
    return any(point[name] == choice or _close(point[name], choice) for choice in choices)


def _close(one: Any, other: Any) -> bool:
    return isinstance(one, float) and isinstance(other, float) and math.isclose(one, other)


def _has(layer: str, stage: str | None, depth: int) -> bool:
    if layer == "features":
        return stage == "post"
    if layer.endswith(".input"):
        return stage == "post"
    return not (layer in (f"head.{depth}", "output") and stage == "post")
