"""Problems that train as an ensemble: the table of the replicas, their decays, and their network, data and module."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from ncbench.config.models import FreeFeatures
from ncbench.config.root import Config
from ncbench.measure import log_spaced
from ncbench.models.replica import start_at
from ncbench.training.objectives import per_matrix

__all__ = [
    "Decays",
    "RunObjects",
    "free_features",
    "perceptrons",
    "reference_arguments",
    "replica_decays",
    "replica_table",
]


@dataclass
class RunObjects:
    """The objects of a run, and the table of its replicas (one row for ordinary networks)."""

    module: pl.LightningModule
    data: Any
    network: torch.nn.Module
    replicas: list[dict[str, Any]]
    due: list[int]  # finished epochs (blocks of a full-batch problem) at which to measure
    max_epochs: int


@dataclass(frozen=True)
class Decays:
    """What decays one replica. `delta` is the factor of a perceptron's first layer, None of other networks."""

    weights: list[float]  # one per weight matrix
    features: float | None
    delta: float | None


def replica_table(config: Config) -> list[dict[str, Any]]:
    """One row per replica: the product of the axes of `replicate`; replica i of the seed axis has seed + i.

    A ratio q of the noise is the noise q sqrt(weight decay).
    """
    axes = {
        axis: [config.seed + i for i in range(value)] if axis == "seed" else list(value)
        for axis, value in config.replicate.items()
    }
    rows = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    for row in rows:
        if "noise_ratio" in row:
            row["noise"] = row["noise_ratio"] * replica_decays(config, row).weights[0] ** 0.5
    return [{"replica": i, "seed": config.seed, **row} for i, row in enumerate(rows)]


def replica_decays(config: Config, row: Mapping[str, Any]) -> Decays:
    """The decays of the replica in this row of the table: its own, or else those of the objective.

    `replicate.decay` replaces the decay of every matrix and that of the features; `replicate.weight_decay` replaces
    one number or a list of one per matrix by one number.
    """

    def own_or_common(name: str) -> Any:
        return row.get(name, getattr(config.objective, name, None))

    both = row.get("decay")
    weights = own_or_common("weight_decay") if both is None else both
    features = own_or_common("feature_decay") if both is None else both
    return Decays(per_matrix(weights, config.model.depth), features, own_or_common("delta"))


def free_features(config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype) -> RunObjects:
    """Deep unconstrained features models on the labels alone; ValueError for a dataset that has images."""
    columns = {name: [row[name] for row in replicas] for name in replicas[0]}
    steps, model = config.schedule.gradient_steps, config.model
    assert steps is not None
    if not hasattr(data, "labels"):
        raise ValueError(
            f"schedule.steps={steps}: full-batch problems train free features on labels alone; use dataset=labels, or "
            "another schedule for images"
        )
    decays = [replica_decays(config, row) for row in replicas]
    feature_decays = [decay.features for decay in decays if decay.features is not None]
    network = instantiate(
        {**model.arguments(), "init_scale": columns.get("init_scale", model.init_scale)},
        num_classes=data.num_classes,
        num_samples=len(data.labels),
        seeds=columns["seed"],
        dtype=dtype,
    )
    weight_decays = [decay.weights for decay in decays]
    if isinstance(model, FreeFeatures) and (model.start is not None or "start" in columns):
        start_at(
            network,
            columns.get("start", [model.start] * len(replicas)),
            data.labels,
            loss=config.objective.loss,
            seeds=columns["seed"],
            weight_decays=weight_decays,
            feature_decays=feature_decays,
            noises=columns.get("start_noise", [model.start_noise] * len(replicas)),
            init_generator=model.init_generator,
        )
    measure_steps = log_spaced(steps, config.measure.points)
    make: Any = instantiate({**config.objective.arguments(), "_partial_": True}, _convert_="all")
    module = make(
        network=network,
        labels=data.labels,
        optimizer=instantiate(config.optimizer.arguments()),
        steps=steps,
        measure_steps=measure_steps,
        tolerance=getattr(config.schedule, "tolerance", None),
        stationary=getattr(config.schedule, "stationary", None),
        hessian=config.measure.hessian,
        engine=config.trainer.engine,
        weight_decays=weight_decays,
        feature_decays=feature_decays,
        rates=columns.get("lr"),
    )
    due = [module.blocks_until(step) for step in measure_steps]
    return RunObjects(module, data, network, replicas, due, len(module.ends))


def perceptrons(config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype) -> RunObjects:
    """Fully connected networks on the inputs, in full batch; ValueError for a dataset without inputs."""
    columns = {name: [row[name] for row in replicas] for name in replicas[0]}
    steps, model = config.schedule.gradient_steps, config.model
    assert steps is not None
    if not hasattr(data, "points"):
        raise ValueError(
            "model=perceptron: needs a dataset with inputs, such as mixture, random_points, digits or mnist"
        )
    points = data.points(columns.get("noise"))
    if "centroids" in columns:
        points = points.with_centroids(columns["centroids"])
    network = instantiate(
        {**model.arguments(), "init_scale": columns.get("init_scale", model.init_scale)},
        inputs=points.inputs,
        num_outputs=points.targets.shape[2],
        seeds=columns["seed"],
        dtype=dtype,
    )
    measure_steps = log_spaced(steps, config.measure.points)
    decays = [replica_decays(config, row) for row in replicas]
    make: Any = instantiate({**config.objective.arguments(), "_partial_": True}, _convert_="all")
    module = make(  # not through Hydra, which would make a mapping of the points
        network=network,
        points=points,
        optimizer=instantiate(config.optimizer.arguments()),
        steps=steps,
        measure_steps=measure_steps,
        weight_decays=[decay.weights[-1] for decay in decays],
        deltas=[decay.delta for decay in decays],
        matched_pairs=_matched_pairs(replicas),
        kmeans=config.measure.kmeans,
        **{name: getattr(config.schedule, name, None) for name in ("stationary", "warm_steps", "annealing")},
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
    common: dict[str, Any] = {"num_classes": data.num_classes, "depth": depth, "per_class": data.per_class}
    if isinstance(width, int):
        common["width"] = width
    common["frozen"] = next(iter(getattr(built.module, "frozen", ())), None)
    if widths := [width] if isinstance(width, int) else width:
        common |= {"narrowest": min(widths), "last_hidden": widths[-1]}
    decays = [replica_decays(config, row) for row in built.replicas]
    if not config.model.on_inputs:
        return [{**common, "feature_decay": decay.features, "weight_decays": decay.weights} for decay in decays]
    common |= {"num_samples": data.num_samples, "dimension": data.dimension}
    common["first_width"] = width if isinstance(width, int) else next(iter(width), data.num_classes)
    return [
        {
            **common,
            "weight_decay": decay.weights[-1],
            "delta": decay.delta,
            "noise": row.get("noise", config.dataset.sample_noise),
        }
        for row, decay in zip(built.replicas, decays, strict=True)
    ]
