"""How much a configuration asks for, before a list or a tensor is made of it: counts, and numbers in memory at once.

A count that no run needs is refused, and so is a run whose weights, features or data are more than `LARGEST` numbers:
it would take memory until the machine stops it, or another process.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ncbench.config.rules import is_int, is_list, require

if TYPE_CHECKING:
    from ncbench.config.root import Config

__all__ = ["LARGEST", "check_sizes"]

LARGEST = 2**33  # numbers: 64 GiB in 64 bits
_MOST = {
    "dataset": {"num_workers": 1024},
    "model": {"depth": 10_000},
    "optimizer": {"memory": 10_000},
    "schedule": {"steps": 10**9, "warm_steps": 10**9, "T_max": 10**9},
    "measure": {"points": 100_000},
    "trainer": {"max_epochs": 10**9, "threads": 4096, "devices": 1024},
}
_MOST_REPLICAS = 1_000_000


def check_sizes(config: "Config") -> None:
    """ValueError of one line where a value is no finite number of 64 bits, or too large to be worked with."""
    for group, counts in _MOST.items():
        for key, most in counts.items():
            value = getattr(getattr(config, group), key, None)
            require(value is None or value <= most, f"{group}.{key}", value, f"must be at most {most}")
    for key, value in _numbers(config.plain()):
        require(math.isfinite(value), key, value, "must be a finite number")
        require(isinstance(value, float) or abs(value) < 2**63, key, value, "must be a number of 64 bits")
    lengths = [len(axis) if is_list(axis) else axis for axis in config.replicate.values()]
    replicas = math.prod(length for length in lengths if is_int(length))
    rule = f"makes {replicas} replicas, and at most {_MOST_REPLICAS} are one job"
    require(replicas <= _MOST_REPLICAS, "replicate", _shown(config.replicate), rule)
    for key, value, numbers in _in_memory(config, replicas):
        rule = f"makes {numbers} numbers in memory, and at most 2^33 (64 GiB in 64 bits) are allowed"
        require(numbers <= LARGEST, key, value, rule)


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number of a configuration with its key. Claims are about results, and may ask for any."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if (key, name) != ("", "claims"):
                yield from _numbers(part, f"{key}.{name}" if key else str(name))
    elif is_list(value):
        for part in value:
            yield from _numbers(part, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def _in_memory(config: "Config", replicas: int) -> Iterator[tuple[str, Any, int]]:
    """Keys and their values with how many numbers they make: samples, free features, weights, what L-BFGS keeps."""
    dataset, model, per_replica = config.dataset, config.model, 0
    classes, per_class = dataset.known_classes or 1, getattr(dataset, "per_class", None) or 1
    samples, dimension = getattr(dataset, "num_samples", None), getattr(dataset, "dimension", None) or 1
    key, value = ("num_samples", samples) if samples else ("per_class", per_class)
    of_labels = hasattr(dataset, "dimension") or dataset.KIND == "labels"
    samples = (samples or classes * per_class) if of_labels else 0
    if of_labels and dimension > samples:
        yield "dataset.dimension", dimension, samples * dimension
    elif of_labels:
        yield f"dataset.{key}", value, samples * dimension
    if model.KIND == "network":
        return
    for layers in _layers(model.width, model.depth, classes), *map(_widths, getattr(model, "backbone", {}).values()):
        per_replica += sum(a * b for a, b in pairwise(layers))
    yield "model.width", model.width, per_replica
    features = model.width[0] if is_list(model.width) and model.width else model.width
    of_samples = samples * (features if is_int(features) else 1) if model.full_batch else 0
    yield f"dataset.{key}", value, of_samples
    yield "replicate", _shown(config.replicate), replicas * (per_replica + of_samples)
    pairs = 2 * getattr(config.optimizer, "memory", 0)
    yield "optimizer.memory", pairs // 2, pairs * replicas * (per_replica + of_samples * (not model.on_inputs))


def _layers(width: Any, depth: int, classes: int) -> list[int]:
    return [*(width if is_list(width) else [width] * depth), classes]


def _widths(value: Any) -> list[int]:
    """A backbone's argument, if it is a list of widths such as `hidden` and `channels`."""
    return list(value) if isinstance(value, Sequence) and all(map(is_int, value)) else []


def _shown(replicate: Mapping[str, Any]) -> str:
    """The axes of an ensemble with their lengths, however long they are."""
    return ", ".join(f"{axis}: {len(value) if is_list(value) else value}" for axis, value in replicate.items())
