"""The objects of a run from its configuration: data, network, LightningModule; and a finished run's objects again."""

import itertools
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ncbench.config import Config
from ncbench.measure import Taps, log_spaced
from ncbench.models.replica import start_at
from ncbench.training.checkpoints import usable_checkpoint
from ncbench.training.objectives import per_matrix
from ncbench.validation import validate

__all__ = ["Built", "build", "decays_of", "load_run", "measured_layers", "one_line_errors"]

# Lightning 2.6 calls a function that torch 2.15 deprecates, on every start.
warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", module="pytorch_lightning")


DECAYS = ("weight_decay", "feature_decay")
_STARTS = ("start", "start_noise")  # of the model's configuration, for `start_at` and not for the network's class


@dataclass
class Built:
    """The objects of a run, and the table of its replicas (one row for ordinary networks)."""

    module: pl.LightningModule
    data: Any
    network: torch.nn.Module
    replicas: list[dict[str, Any]]
    due: list[int]  # finished epochs (blocks of a full-batch problem) at which to measure
    max_epochs: int


def build(values: Mapping[str, Any], config: Config) -> Built:
    """Data, network and LightningModule of a configuration; ValueError (one line) for what the user can mend."""
    dtype = torch.float64 if config.trainer.dtype == "float64" else torch.float32
    with one_line_errors():
        data = instantiate(dict(values["dataset"]))
        data.prepare_data()
        data.setup()
        make = _full_batch if config.schedule.steps is not None else _classifier
        built = make(values, config, data, _replica_table(config), dtype)
        Taps(built.network, measured_layers(config))
    return built


def measured_layers(config: Config) -> list[str]:
    """The layers asked for, or the features and every layer of the head."""
    own = ["features", *(f"head.{l}" for l in range(1, config.model.depth + 1))]
    return own if config.measure.layers is None else list(config.measure.layers)


def load_run(folder: str | Path) -> tuple[pl.LightningModule, Any, Config]:
    """The module with its last checkpoint's weights, its data, and the configuration of a run folder.

    `folder` may also name a checkpoint file inside a run folder, whose weights are then taken. A stack of one replica
    comes with its network as ordinary nn.Linear modules. Raises ValueError where there is no run, no
    usable checkpoint, or one of another network.
    """
    path = Path(folder)
    run = next((p for p in path.resolve().parents if (p / "config.yaml").is_file()), path) if path.is_file() else path
    if not (run / "config.yaml").is_file():
        raise ValueError(f"{path}: holds no run (no config.yaml)")
    if path.is_file():
        checkpoint = path
    elif found := usable_checkpoint(run / "checkpoints"):
        checkpoint = found[0]
    else:
        raise ValueError(f"{path}: holds no usable checkpoint")
    values = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=True)
    assert isinstance(values, dict)
    plain = {str(key): value for key, value in values.items()}
    config = validate(plain)
    built = build(plain, config)
    try:
        built.module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{checkpoint}: not a checkpoint of the run in {run}") from error
    if getattr(built.network, "replicas", None) == 1:
        built.module.network = built.network.as_linear()  # type: ignore[operator]
    return built.module, built.data, config


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What goes wrong while objects are built from the user's values, as a ValueError of one line."""
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        raise ValueError(_one_line(cause if isinstance(cause, ValueError) else error)) from error
    except (TypeError, FileNotFoundError) as error:
        raise ValueError(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def decays_of(row: Mapping[str, Any], config: Config) -> tuple[list[float], float | None]:
    """The decays of a replica: one for each weight matrix of the head, and that of the features."""
    weights, features = (row.get(name, row.get("decay", getattr(config.objective, name))) for name in DECAYS)
    return per_matrix(weights, config.model.depth), features


def _own(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key not in _STARTS}


def _replica_table(config: Config) -> list[dict[str, Any]]:
    """One row per replica: the product of the axes of `replicate`; replica i of the seed axis has seed + i."""
    axes = {
        axis: [config.seed + i for i in range(value)] if axis == "seed" else list(value)
        for axis, value in config.replicate.items()
    }
    rows = [dict(zip(axes, point)) for point in itertools.product(*axes.values())]
    return [{"replica": i, "seed": config.seed, **row} for i, row in enumerate(rows)]


def _full_batch(
    values: Mapping[str, Any], config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype
) -> Built:
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
        {**_own(values["model"]), "init_scale": column("init_scale") or config.model.init_scale},
        num_classes=data.num_classes,
        num_samples=len(data.labels),
        seeds=[row["seed"] for row in replicas],
        dtype=dtype,
    )
    if config.model.start is not None:
        decays = [decays_of(row, config) for row in replicas]
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
    return Built(module, data, network, replicas, due, len(module.ends))


def _classifier(
    values: Mapping[str, Any], config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype
) -> Built:
    epochs = config.trainer.max_epochs
    assert epochs is not None
    data.order_seed = config.seed
    network = instantiate(
        _own(values["model"]), input_shape=data.input_shape, num_classes=data.num_classes, seed=config.seed
    ).to(dtype)
    scheduled = values["schedule"].get("_target_") is not None
    module = instantiate(
        dict(values["objective"]),
        network=network,
        num_samples=len(data.train),
        optimizer=instantiate(dict(values["optimizer"])),
        scheduler=instantiate(dict(values["schedule"])) if scheduled else None,
        _convert_="all",
    )
    return Built(module, data, network, replicas, log_spaced(epochs, config.measure.points), epochs)
