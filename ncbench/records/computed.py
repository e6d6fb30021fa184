"""What a run computes, read from its `config.yaml`: runs that agree in all of it differ in nothing but the seed.

The keys that do not count are those that `ncbench.config` leaves out of a run's identity, and the seed itself: what is
claimed about the numbers, where data lies, where measures are sent, how often a checkpoint is written or a bar drawn.
What has such a name but is an argument of a dataset of the user's own (`dataset=other`) counts.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ncbench.records.cache import cached
from ncbench.records.proven_files import check_small_file
from ncbench.records.runs import Dir, named_runs
from ncbench.records.schema import CONFIG
from ncbench.records.small_files import MOST_YAML, read_text, read_yaml

__all__ = [
    "LATER",
    "NOT_COMPUTED",
    "OF_KIND",
    "Values",
    "computed",
    "explains",
    "identity",
    "telling_apart",
    "value_of",
]

Values = Mapping[str, Any]  # by dotted key
NOT_COMPUTED = (
    *("seed", "replicate.seed", "claims", "grid", "open", "reproduces", "logger"),
    *("trainer.progress", "trainer.checkpoint_seconds", "trainer.keep_checkpoints", "trainer.cuda_graph"),
)
# What does not count of a dataset of one kind; under other kinds these are arguments of a class, which may read them.
OF_KIND: Mapping[str, tuple[str, ...]] = {
    "images": ("dataset.root", "dataset.download"),
    "torch": ("dataset.num_workers",),
}
_OWN = "other"  # the kind whose keys are all arguments of the user's class, with defaults that nothing here knows
# Keys that later versions write, with what a configuration without them stands for: their defaults in `ncbench.config`.
LATER: Values = {
    "trainer.precision": "32",
    "trainer.devices": 1,
    "trainer.strategy": "auto",
    "measure.measures": "default",
    "dataset.imbalance": None,
    "dataset.minority": 0.5,
    "dataset.label_noise": 0.0,
    "trainer.compile": False,
    "trainer.fused": None,
    "trainer.micro_batch": None,
    "model.init_rule": "fan_in",
    "model.init_generator": "torch",
    "model.init_feature_variance": None,
    "trainer.engine": "auto",
}
_PRECISION = {"float32": "32", "float64": "64"}  # of `trainer.dtype`, as the key was called before
_SHOWN = re.compile(r"measure\.(moments|matrices)\.[^.]+\.(label|unit|scale)")  # what the report alone reads
_SEED = re.compile(r"^seed:.*$", re.MULTILINE)


@cached
def computed(dir: Dir) -> dict[str, Values | None]:
    """The values that every run computes with, by the run's name and their dotted key; None without `config.yaml`.

    A list or an empty mapping is its JSON text; a key without a value is None. Configurations of earlier versions are
    read as those of this one.
    """
    known: dict[str, Values | None] = {}
    found: dict[str, Values | None] = {}
    for name, run in named_runs(dir).items():
        check_small_file(run, CONFIG)
        text = _SEED.sub("", read_text(run / CONFIG, MOST_YAML)) if (run / CONFIG).is_file() else ""
        if text not in known:  # the runs of a sweep over seeds have one text
            content = read_yaml(run / CONFIG) if text else None
            known[text] = _in_present_words(_counted(content)) if isinstance(content, dict) else None
        found[name] = known[text]
    return found


def _in_present_words(values: dict[str, Any]) -> Values:
    """The values with the keys of the present version, whichever wrote them."""
    if not any(key.startswith("trainer.") for key in values):
        return values
    named = {"trainer.precision": _PRECISION.get(str(values.pop("trainer.dtype", None)), "32")}
    own = values.get("dataset.kind") == _OWN
    filled = {**{key: value for key, value in LATER.items() if not (own and key.startswith("dataset."))}, **named}
    filled |= values
    return filled | {"trainer.precision": str(filled["trainer.precision"])}


def _counted(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The values that count, by dotted key; a configuration without the kind of its data is of an earlier version."""
    dataset = content.get("dataset")
    kind = dataset.get("kind") if isinstance(dataset, Mapping) else None
    of_data = OF_KIND.get(kind, ()) if kind else [key for keys in OF_KIND.values() for key in keys]
    return dict(_flat(content, frozenset((*NOT_COMPUTED, *of_data))))


def _flat(content: Mapping[Any, Any], left_out: frozenset[str], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{above}{key}"
        if name in left_out or _SHOWN.fullmatch(name):
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, left_out, f"{name}.")
        else:
            yield name, json.dumps(value, sort_keys=True) if isinstance(value, Mapping | list) else value


def identity(values: Values) -> tuple[tuple[str, str], ...]:
    """The same for equal values, whatever their order; a whole number equals the same number with a point.

    >>> identity({"b": 1, "a": "1"}) == identity({"a": "1", "b": 1.0}), identity({"a": 1}) == identity({"a": True})
    (True, False)
    """
    return tuple(sorted((key, _comparable(value)) for key, value in values.items()))


def _comparable(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return repr(float(value) if number else value)


def value_of(values: Values | None, name: str) -> Any:
    """The value of a swept quantity: of the key of that name, or of the only one whose last part it is; else None.

    >>> value_of({"optimizer.lr": 0.1, "a.x": 1, "b.x": 2}, "lr"), value_of({"a.x": 1, "b.x": 2}, "x")
    (0.1, None)
    """
    if values is None:
        return None
    keys = [name] if name in values else [key for key in values if key.rsplit(".", 1)[-1] == name]
    return values[keys[0]] if len(keys) == 1 else None


def value_of_replica(values: Values | None, name: str, row: Mapping[str, Any]) -> Any:
    """The value of a swept quantity for one replica, as `value_of` finds it in the configuration of its run.

    `row` is what replicas.json says of the replica. A `decay` in it replaces both decays of the configuration.

    >>> value_of_replica({"objective.weight_decay": 0.1, "width": 8}, "weight_decay", {"decay": 0.01, "width": None})
    0.01
    """
    own = row.get("decay") if name.rsplit(".", 1)[-1] in ("weight_decay", "feature_decay") else None
    return value_of(values, name) if own is None or own != own else own


def explains(values: Values, name: str, value: Any) -> bool:
    """Whether the configuration says that a quantity has this value: its key does, or it is the name of a group.

    >>> config = {"optimizer.lr": 0.1, "dataset.classes": 10}
    >>> explains(config, "lr", 0.1), explains(config, "lr", 0.2), explains(config, "dataset", "digits")
    (True, False, True)
    """
    same = _comparable(value)
    return any(
        key.startswith(f"{name}.") or (name in (key, key.rsplit(".", 1)[-1]) and _comparable(values[key]) == same)
        for key in values
    )


def telling_apart(configured: Sequence[Values]) -> list[str]:
    """The fewest keys, taken one after another, whose values tell these configurations apart; the name of it first.

    Of keys that tell as many apart the first counts. A key that some lack differs there too.

    >>> telling_apart([{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "c": 1}, {"a": 1, "b": 2, "c": 2}])
    ['b', 'c']
    """
    keys = list(dict.fromkeys(key for values in configured for key in values))
    columns = {key: [_comparable(values[key]) if key in values else "" for values in configured] for key in keys}
    columns = {key: column for key, column in columns.items() if len(set(column)) > 1}
    chosen: list[str] = []
    groups: list[tuple[str, ...]] = [()] * len(configured)
    while columns:
        best = max(columns, key=lambda key: (_finer(groups, columns[key]), key == "name"))
        if _finer(groups, columns[best]) == len(set(groups)):
            break
        groups = [(*group, value) for group, value in zip(groups, columns.pop(best), strict=True)]
        chosen.append(best)
    return chosen


def _finer(groups: list[tuple[str, ...]], column: list[str]) -> int:
    """Into how many groups the values of a column divide these groups."""
    return len(set(zip(groups, column, strict=True)))
