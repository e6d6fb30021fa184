"""The objects of a run from its configuration: data, network, LightningModule; and a finished run's objects again."""

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ncbench.config.root import Config
from ncbench.config.validate import validate
from ncbench.measure import LayerHooks, log_spaced
from ncbench.records.layers import measured_by_default
from ncbench.records.schema import CHECKPOINTS, CONFIG
from ncbench.run.ensembles import RunObjects, free_features, of_network, perceptrons, replica_table
from ncbench.training.checkpoints import usable_checkpoint

__all__ = ["build", "load_run", "measured_layers", "one_line_errors"]

# Lightning 2.6 calls a function that torch 2.15 deprecates, on every start.
warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", module="pytorch_lightning")
# L-BFGS on a stack keeps its own state.
warnings.filterwarnings("ignore", message=r".*configure_optimizers. returned .None.", module="pytorch_lightning")


def build(values: Mapping[str, Any], config: Config) -> RunObjects:
    """Data, network and LightningModule of a configuration; ValueError (one line) for what the user can mend."""
    dtype = torch.float64 if config.trainer.dtype == "float64" else torch.float32
    with one_line_errors():
        data = instantiate(dict(values["dataset"]))
        data.prepare_data()
        data.setup()
        stack = perceptrons if config.model.on_inputs else free_features
        make = _classifier if config.schedule.steps is None else stack
        built = make(values, config, data, replica_table(config), dtype)
        LayerHooks(built.network, measured_layers(config))
    return built


def measured_layers(config: Config) -> list[str]:
    """The layers asked for, or the features and every layer of the head."""
    asked = config.measure.layers
    return measured_by_default(config.model.depth) if asked is None else list(asked)


def load_run(folder: str | Path) -> tuple[pl.LightningModule, Any, Config]:
    """The module with its last checkpoint's weights, its data, and the configuration of a run folder.

    `folder` may also name a checkpoint file inside a run folder, whose weights are then taken. A stack of one replica
    comes with its network as ordinary nn.Linear modules. Raises ValueError where there is no run, no
    usable checkpoint, or one of another network.
    """
    path = Path(folder)
    run = next((p for p in path.resolve().parents if (p / CONFIG).is_file()), path) if path.is_file() else path
    if not (run / CONFIG).is_file():
        raise ValueError(f"{path}: holds no run (no {CONFIG})")
    if path.is_file():
        checkpoint = path
    elif found := usable_checkpoint(run / CHECKPOINTS):
        checkpoint = found[0]
    else:
        raise ValueError(f"{path}: holds no usable checkpoint")
    values = OmegaConf.to_container(OmegaConf.load(run / CONFIG), resolve=True)
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


def _classifier(
    values: Mapping[str, Any], config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype
) -> RunObjects:
    epochs = config.trainer.max_epochs
    assert epochs is not None
    data.order_seed = config.seed
    network = instantiate(
        of_network(values["model"]), input_shape=data.input_shape, num_classes=data.num_classes, seed=config.seed
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
    return RunObjects(module, data, network, replicas, log_spaced(epochs, config.measure.points), epochs)
