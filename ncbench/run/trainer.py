"""Lightning's Trainer for one run, and what makes its steps faster."""

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from ncbench._cli import one_line
from ncbench.config.measuring import Trainer
from ncbench.config.root import Config
from ncbench.config.rules import require
from ncbench.training.checkpoints import AtomicCheckpointIO
from ncbench.training.classifier import ClassifierModule
from ncbench.training.speed import Fused, StepGraph, compile_parts

__all__ = ["make_trainer", "prepare_module", "training_device"]

_LIGHTNING: dict[str, Literal["32-true", "64-true", "bf16-mixed"]] = {
    "32": "32-true",
    "64": "64-true",
    "bf16-mixed": "bf16-mixed",
}


def _check_accelerator(trainer: Trainer) -> None:
    """ValueError in words of ours: those of Lightning tell of its classes."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(trainer.accelerator, True)
    rule = "must be one that PyTorch finds on this machine; cpu and auto always are"
    require(there, "trainer.accelerator", trainer.accelerator, rule)


def training_device(trainer: Trainer) -> torch.device:
    """The device that this process will train on, before there is a trainer: where its data have to lie.

    Raises ValueError where this machine lacks the accelerator, or so many of them.
    """
    _check_accelerator(trainer)
    several = trainer.devices > 1
    try:
        fabric = Fabric(
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            strategy="ddp" if several else "auto",
            plugins=[LightningEnvironment()] if several else [],
        )
    except (RuntimeError, MisconfigurationException) as error:  # such as more devices than there are
        raise ValueError(f"trainer.accelerator={trainer.accelerator}: {one_line(error)}") from error
    return fabric.device


def make_trainer(config: Config, callbacks: list[pl.Callback], max_epochs: int, folder: Path) -> pl.Trainer:
    """Lightning's Trainer as the configuration has it; ValueError where this machine lacks its accelerators."""
    _check_accelerator(config.trainer)
    devices = config.trainer.devices
    try:
        trainer = pl.Trainer(
            accelerator=config.trainer.accelerator,
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            precision=_LIGHTNING[config.trainer.precision],
            max_epochs=max_epochs,
            logger=False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if devices > 1 else [])],
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
    except (RuntimeError, MisconfigurationException) as error:
        raise ValueError(f"trainer.accelerator={config.trainer.accelerator}: {one_line(error)}") from error
    device = trainer.strategy.root_device
    if config.trainer.engine == "lanes" and device.type != "cpu":
        raise ValueError(f"trainer.engine=lanes: is an engine of the CPU, not of {device}; use trainer.accelerator=cpu")
    if config.trainer.cuda_graph and device.type != "cuda":
        raise ValueError(f"trainer.cuda_graph=True: must be trained on a CUDA device, not {device}")
    return trainer


def prepare_module(module: Any, config: Config) -> None:
    """Prepare a module of mini-batches as the configuration says; ValueError of one line where it cannot be.

    The names of the module's parameters and buffers stay as they are.
    """
    if not isinstance(module, ClassifierModule):
        return
    trainer = config.trainer
    module.draws_from = config.seed
    module.micro_batch = trainer.micro_batch
    module.make_optimizer = Fused(module.make_optimizer, trainer.fused)
    module.step_graph = StepGraph() if trainer.cuda_graph else None
    if trainer.compile:
        compile_parts(module.network)
