"""Problems that train as a stack: the table of the replicas, and networks, data and module of a configuration."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from ncbench.config.root import Config
from ncbench.measure import log_spaced
from ncbench.models.replica import start_at
from ncbench.training.objectives import per_matrix

__all__ = ["RunObjects", "free_features", "of_network", "perceptrons", "reference_arguments", "replica_table"]

DECAYS = ("weight_decay", "feature_decay")
_STARTS = ("start", "start_noise")  # of the model's configuration, for `start_at` and not for the network's class


@dataclass
class RunObjects:
    """The objects of a run, and the table of its replicas (one row for ordinary networks)."""

    module: pl.LightningModule
    data: Any
    network: torch.nn.Module
    replicas: list[dict[str, Any]]
    due: list[int]  # finished epochs (blocks of a full-batch problem) at which to measure
    max_epochs: int


def replica_table(config: Config) -> list[dict[str, Any]]:
    """One row per replica: the product of the axes of `replicate`; replica i of the seed axis has seed + i.

    A ratio q of the noise is the noise q sqrt(weight decay).
    """
    axes = {
        axis: [config.seed + i for i in range(value)] if axis == "seed" else list(value)
        for axis, value in config.replicate.items()
    }
    rows = [dict(zip(axes, point)) for point in itertools.product(*axes.values())]
    for row in rows:
        if "noise_ratio" in row:
            row["noise"] = row["noise_ratio"] * row.get("weight_decay", config.objective.weight_decay) ** 0.5
    return [{"replica": i, "seed": config.seed, **row} for i, row in enumerate(rows)]


def free_features(
    values: Mapping[str, Any], config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype
) -> RunObjects:
    """Deep unconstrained features models on the labels alone; ValueError for a dataset that has images."""

    def column(name: str) -> list[float] | None:
        key = "decay" if name in DECAYS and "decay" in replicas[0] else name
        return [row[key] for row in replicas] if key in replicas[0] else None

    steps = config.schedule.steps
    assert steps is not None
    if not hasattr(data, "labels"):
        raise ValueError(
            f"schedule.steps={steps}: full-batch problems train free features on labels alone; use dataset=labels, or "
            "another schedule for images"
        )
    network = instantiate(
        {**of_network(values["model"]), "init_scale": column("init_scale") or config.model.init_scale},
        num_classes=data.num_classes,
        num_samples=len(data.labels),
        seeds=[row["seed"] for row in replicas],
        dtype=dtype,
    )
    if config.model.start is not None:
        decays = [_decays_of(row, config) for row in replicas]
        if any(features is None for _, features in decays):
            raise ValueError("objective.feature_decay=null: free features need a decay >= 0")
        start_at(
            network,
            config.model.start,
            data.labels,
            weight_decays=[weights for weights, _ in decays],
            feature_decays=[float(features or 0.0) for _, features in decays],
            noise=config.model.start_noise,
        )
    measure_steps = log_spaced(steps, config.measure.points)
    replicated = {name: column(name) for name in (*DECAYS, "lr")}
    module = instantiate(
        dict(values["objective"]),
        network=network,
        labels=data.labels,
        optimizer=instantiate(dict(values["optimizer"])),
        steps=steps,
        measure_steps=measure_steps,
        tolerance=config.schedule.tolerance,
        replicated={name: of_replicas for name, of_replicas in replicated.items() if of_replicas is not None},
        _convert_="all",
    )
    due = [module.blocks_until(step) for step in measure_steps]
    return RunObjects(module, data, network, replicas, due, len(module.ends))


def perceptrons(
    values: Mapping[str, Any], config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype
) -> RunObjects:
    """Fully connected networks on the inputs, in full batch; ValueError for a dataset without inputs."""
    columns = {name: [row[name] for row in replicas] for name in replicas[0]}
    steps, schedule = config.schedule.steps, config.schedule
    assert steps is not None
    if not hasattr(data, "points"):
        raise ValueError(
            "model=perceptron: needs a dataset with inputs, such as mixture, random_points, digits or mnist"
        )
    points = data.points(columns.get("noise"))
    if "centroids" in columns:
        points = points.with_centroids(columns["centroids"])
    network = instantiate(
        {**of_network(values["model"]), "init_scale": columns.get("init_scale", config.model.init_scale)},
        inputs=points.inputs,
        num_outputs=points.targets.shape[2],
        seeds=columns["seed"],
        dtype=dtype,
    )
    measure_steps = log_spaced(steps, config.measure.points)
    make: Any = instantiate({**values["objective"], "_partial_": True}, _convert_="all")
    module = make(  # not through Hydra, which would make a mapping of the points
        network=network,
        points=points,
        optimizer=instantiate(dict(values["optimizer"])),
        steps=steps,
        measure_steps=measure_steps,
        replicated={name: columns[name] for name in ("weight_decay", "delta") if name in columns},
        matched_pairs=_matched_pairs(replicas),
        kmeans=config.measure.kmeans,
        **{name: getattr(schedule, name) for name in ("stationary", "warm_steps", "annealing")},
    )
    due = [module.blocks_until(step) for step in measure_steps]
    return RunObjects(module, points, network, replicas, due, len(module.ends))


def _matched_pairs(replicas: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """(replica on the samples, replica on their class means) wherever two rows differ in nothing else."""

    def others(row: Mapping[str, Any]) -> str:
        return repr({name: value for name, value in row.items() if name not in ("replica", "centroids")})

    on_means = {others(row): row["replica"] for row in replicas if row.get("centroids") is True}
    on_samples = [row for row in replicas if row.get("centroids") is False]
    return [(row["replica"], on_means[others(row)]) for row in on_samples if others(row) in on_means]


def reference_arguments(built: RunObjects, config: Config) -> list[dict[str, Any]]:
    """What theory lines may ask of every replica, under the names of `ncbench.run.references.KNOWN_ARGUMENTS`."""
    data, depth, width = built.data, config.model.depth, config.model.width
    facts: dict[str, Any] = {"num_classes": data.num_classes, "depth": depth, "per_class": data.per_class}
    if not config.model.on_inputs:
        of_rows = (_decays_of(row, config) for row in built.replicas)
        return [{**facts, "feature_decay": features, "weight_decays": weights} for weights, features in of_rows]
    facts |= {"num_samples": data.num_samples, "dimension": data.dimension}
    facts["first_width"] = width if isinstance(width, int) else next(iter(width), data.num_classes)
    own = {
        "weight_decay": config.objective.weight_decay,
        "delta": config.objective.delta,
        "noise": config.dataset.noise,
    }
    return [{**facts, **{name: row.get(name, value) for name, value in own.items()}} for row in built.replicas]


def _decays_of(row: Mapping[str, Any], config: Config) -> tuple[list[float], float | None]:
    """The decays of a replica: one for each weight matrix of the head, and that of the features."""
    weights, features = (row.get(name, row.get("decay", getattr(config.objective, name))) for name in DECAYS)
    return per_matrix(weights, config.model.depth), features


def of_network(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model's configuration without the start, which is not the network's own."""
    return {key: value for key, value in model.items() if key not in _STARTS}
