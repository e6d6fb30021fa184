"""Run folders of ensembles of fully connected networks: what they record beyond other networks, by simple laws."""

from pathlib import Path
from typing import Any

import numpy as np

from ncbench.records.layers import measured_by_default
from tests.helpers.run_folders import write_values

FIRST, LAST = 0, 1000


def grid(seeds: int = 1, **axes: list[Any]) -> list[dict[str, Any]]:
    """The replicas of a product of axes; with `noise_ratio` and `weight_decay` the column `noise` is there too."""
    points: list[dict[str, Any]] = [{}]
    for name, values in axes.items():
        points = [{**point, name: value} for point in points for value in values]
    for point in points:
        if "noise_ratio" in point:
            point["noise"] = point["noise_ratio"] * point["weight_decay"] ** 0.5
    return [{**point, "seed": seed} for point in points for seed in range(seeds)]


def pair_values(count: int, depth: int, distance: float = 1.0) -> dict[str, list[float]]:
    """distance d, residual d/10 and rank_bound 10 d (l - j) for every layer l and source j < l of `count` replicas."""
    values: dict[str, list[float]] = {}
    names = measured_by_default(depth)
    for l in range(1, depth + 1):
        own = [distance * 10**-l * (1 + replica / 10) for replica in range(count)]
        values[f"head.{l}.weight.distance"] = own
        values[f"head.{l}.weight.residual"] = [d / 10 for d in own]
        for j in range(l):
            bound = [10 * (l - j) * d for d in own]
            values[f"head.{l}.weight.rank_bound@{names[j]}"] = bound
            values[f"head.{l}.weight.tightness@{names[j]}"] = [
                d / (b + d / 10) for d, b in zip(own, bound, strict=True)
            ]
    return values


def block_gram(classes: int, per_class: int, within: float, seed: int = 0) -> list[float]:
    """Z Z^T of features that are a class's unit vector plus `within` times noise."""
    noise = np.random.default_rng(seed).normal(size=(classes * per_class, classes))
    Z = np.repeat(np.eye(classes), per_class, axis=0) + within * noise
    return [float(value) for value in (Z @ Z.T).ravel()]


def line(name: str, measure: str, value: float, replicas: list[int] | None = None, **keys: Any) -> dict[str, Any]:
    """An entry of references.json."""
    entry = {"name": name, "measure": measure, "value": value, "values": None, "formula": "", "arguments": {}}
    return {**entry, "replicas": replicas, "why": None, **keys}


def write_ensemble(
    run: Path,
    replicas: list[dict[str, Any]],
    values: dict[str, Any],
    claims: dict[str, dict[str, Any]] | None = None,
    *,
    grams: dict[str, dict[int, list[list[float]]]] | None = None,
    lines: list[dict[str, Any]] | None = None,
    depth: int = 4,
    **more: Any,
) -> Path:
    """A finished run of these replicas. `grams` (of samples) and `spectra` hold rows per replica by place and step."""
    return write_values(
        run, values, claims or {}, swept=replicas, sample_grams=grams, lines=lines or [], depth=depth, **more
    )
