"""The moving parts of a run: trainer, callbacks, records, logger, and what is written before the first step."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from rich.console import Console
from torch.nn.modules.batchnorm import _BatchNorm

from ncbench.config.models import Network
from ncbench.config.root import Config
from ncbench.data.base import RunData
from ncbench.measure import Measurement
from ncbench.measure.geometries import named_geometries
from ncbench.records.folder import RunFolder, write_config
from ncbench.records.layers import last_hidden_layer
from ncbench.records.proven_files import write_proven
from ncbench.records.schema import CHECKPOINTS, HYDRA, OVERRIDES, REFERENCES, REPLICAS
from ncbench.records.whole_files import json_text, make_folder
from ncbench.records.writer import RecordWriter
from ncbench.run.build import build, measured_layers, own_measures
from ncbench.run.current_folder import importable_here
from ncbench.run.ensembles import reference_arguments
from ncbench.run.logger import close_logger, learning_rate, open_logger
from ncbench.run.one_line_errors import one_line_errors
from ncbench.run.processes import HearSignals, check_processes, other_processes
from ncbench.run.references import check_references, evaluate_references
from ncbench.run.signals import StopSignals
from ncbench.run.swept import swept_values
from ncbench.run.trainer import make_trainer, prepare_module, training_device
from ncbench.training.checkpoints import current_step, usable_checkpoint
from ncbench.training.digest import replica_digests, weights_digest
from ncbench.training.divergence import StopDiverged
from ncbench.training.guessing import guessing_notice
from ncbench.training.measure_beside import MeasureBeside
from ncbench.training.progress import ProgressLine, decay_table
from ncbench.training.saving import KeepEpochs, SaveLast

if TYPE_CHECKING:
    from ncbench.training.loggers import RunLogger

__all__ = ["RunSession"]

_log = logging.getLogger(__name__)


class RunSession:
    """Everything between the configuration and `fit`; building it raises ValueError where the input is wrong.

    Nothing is written before `write_inputs`: a run that is refused has no folder.
    """

    def __init__(self, config: Config, run: RunFolder, console: Console, signals: StopSignals) -> None:
        self.config, self.run, self.signals = config, run, signals
        importable_here()
        check_references(config.references)
        self.built = build(config)
        self.references = evaluate_references(
            config.references,
            loss=config.objective.loss,
            activation=config.model.activation,
            reference_arguments=reference_arguments(self.built, config),
        )
        self.logger: RunLogger | None = None
        self.recorded: Mapping[str, Any] = config.plain()
        self.overrides: Sequence[str] = ()
        self.resumed_at, self.began, self.wall_before = 0, time.monotonic(), 0.0
        self.digests: dict[str, str] = {}
        self.rates: dict[str, float | None] = {}
        module: Any = self.built.module
        data = self.built.data
        if isinstance(data, RunData) and not config.schedule.full_batch:
            # Otherwise the images to be measured would stay on the CPU, and be normalised and sent anew in every pass.
            with one_line_errors(config, "trainer"):
                data.setup(device=training_device(config.trainer))
        extra = own_measures(config)
        with one_line_errors(config, "measure"):
            layers = measured_layers(config, module)
            loaders = {
                split: data.measure_loader(split, config.measure.batch_size, config.measure.per_class)
                for split in sorted(config.measure.splits, reverse=True)  # train first: it has the singular values
            }
            self.records = RecordWriter(run.path, [row["seed"] for row in self.built.replicas])
            self.collapse = MeasureBeside(
                layers,
                loaders,
                data.num_classes,
                epochs=self.built.due,
                objective=module.objective,
                measures=config.measure.measures,
                gram_every=config.measure.gram_every,
                record=self._record,
                module=self.built.network,
                clock=self._clock,
                threads=torch.get_num_threads() if len(self.built.replicas) > 1 else 1,
                **extra,
            )
            hears: dict[str, Any] = {"before": self._on_disk, "asked": signals.asked, "check": run.check_owner}
            callbacks: list[pl.Callback] = [
                StopDiverged(),
                HearSignals(signals),
                self.collapse,
                KeepEpochs(run.path / CHECKPOINTS, config.trainer.keep_checkpoints, run.check_owner),
                SaveLast(run.path / CHECKPOINTS, config.trainer.checkpoint_seconds, **hears),
            ]
            if config.trainer.progress:
                whole = isinstance(config.model, Network)
                headline = layers[0] if whole else last_hidden_layer(config.model.depth)
                callbacks.append(ProgressLine(console, lambda: self.collapse.latest, (headline, "post")))
            self.trainer = make_trainer(config, callbacks, self.built.max_epochs, run.path)
        with one_line_errors(config, "trainer"):
            prepare_module(module, config)
        check_processes(config, data)
        if config.trainer.progress:
            output = module.classifier if isinstance(config.model, Network) else None
            console.print(decay_table(module.objective, getattr(module, "free", ()), output))

    def _on_disk(self) -> None:
        """What is measured is recorded and on the disk: no checkpoint is ahead of its records."""
        self.collapse.wait()
        self.records.flush()

    def _clock(self, trainer: pl.Trainer) -> tuple[int, float]:
        step = current_step(trainer)
        progress: Any = trainer.fit_loop.epoch_progress.current
        return step, float(step if self.config.schedule.full_batch else progress.processed)

    def _record(self, step: int, epoch: float, measured: Measurement, network: torch.nn.Module) -> None:
        self.run.check_owner()
        if not measured.values:  # the matrices of the last measurement, where the training ended before its time
            if not self.trainer.interrupted:  # else it goes on from its checkpoint, as if it had not been interrupted
                self.records.write(step, epoch, measured)
            return
        self.records.write(step, epoch, measured)
        # Written at once, so that a killed run has the digests of its rows, and the time that they took.
        self.digests[str(step)] = weights_digest(network)
        self.rates[str(step)] = learning_rate(self.built.module, self.trainer.optimizers)
        named = {"geometry": {"step": step, **geometry}} if (geometry := named_geometries(measured)) else {}
        known = {"digests": self.digests, "learning_rates": self.rates, "wall_seconds": self.wall_seconds()}
        engine = getattr(self.built.module, "engine", None)
        known |= {} if engine is None else {"engine": engine}
        self.run.update(**known, **named)
        if self.logger is not None:
            self.logger.send(step)

    def write_inputs(self, values: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """config.yaml, .hydra/, references.json, replicas.json; `values` is the configuration as it is recorded."""
        path, built = self.run.path, self.built
        make_folder(path / HYDRA)
        for folder in (path, path / HYDRA):
            write_config(folder, values)
        write_proven(path, OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
        self.recorded, self.overrides = values, overrides
        swept = swept_values(overrides, built.replicas[0])
        write_proven(path, REPLICAS, json_text([{**swept, **row} for row in built.replicas]))
        write_proven(path, REFERENCES, json_text(self.references))

    def start_clock(self, before: float) -> None:
        """From now on time is counted, beside the seconds of the run's earlier processes."""
        self.began, self.wall_before = time.monotonic(), before

    def wall_seconds(self) -> float:
        """Seconds of the clock since training began, those of the run's earlier processes included."""
        return self.wall_before + time.monotonic() - self.began

    def fit(self) -> None:
        """Train from the last usable checkpoint, or from the start."""
        found = usable_checkpoint(self.run.path / CHECKPOINTS, self.built.module.load_state_dict)
        path, self.resumed_at = found or (None, 0)
        self.records.keep_until(self.resumed_at if path else None)
        info = self.run.info()
        for known, name in ((self.digests, "digests"), (self.rates, "learning_rates")):
            recorded: dict[str, Any] = info.get(name) or {}
            known |= {step: x for step, x in recorded.items() if path and int(step) <= self.resumed_at}
        self.logger = open_logger(self.config, self.run.path, self.recorded, self.overrides)
        for notice in getattr(self.built.data, "notices", ()):
            _log.warning("%s", notice)
        devices, modules = self.config.trainer.devices, self.built.network.modules()
        if devices > 1 and any(isinstance(module, _BatchNorm) for module in modules):
            _log.warning("trainer.devices=%d: batch normalisation sees each process's share of a batch only", devices)
        safe_points = self.signals.training() if devices == 1 else nullcontext()  # several stop at once
        with safe_points, other_processes(self.run.path, path, devices):
            self.train(path)
        self.records.flush()
        self._say_if_guessing()

    def _say_if_guessing(self) -> None:
        """One line in the log where a classifier trained in mini-batches has learned nothing."""
        counts, latest = getattr(getattr(self.built.data, "train", None), "counts", None), self.collapse.latest
        accuracy = None if latest is None else latest.values.get(("train", "", "", "accuracy"))
        if self.config.schedule.full_batch or not counts or accuracy is None:
            return
        most = self.config.measure.per_class  # so many samples of each class are measured
        notice = guessing_notice(float(accuracy), [count if most is None else min(count, most) for count in counts])
        if notice is not None:
            _log.warning("%s", notice)

    def train(self, checkpoint: Path | None) -> None:
        """Train from this checkpoint (None: from the start), each process of a run its part."""
        data = None if self.config.schedule.full_batch else self.built.data
        try:
            self.trainer.fit(self.built.module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        finally:
            if dist.is_available() and dist.is_initialized():
                dist.destroy_process_group()

    def replica_states(self) -> dict[str, Any]:
        """For run.json: which replicas of an ensemble stood still at the end, and why, and the digest of each.

        Nothing for one network.
        """
        if (states := getattr(self.built.module, "states", None)) is None:
            return {}
        network, replicas = self.built.network, len(self.built.replicas)
        return {"replica_states": states.summary(), "replica_digests": replica_digests(network, replicas)}

    def close(self, exit_code: int) -> None:
        """End the logger, so that the next job of this process starts its own; a finished run's report goes to it."""
        if self.logger is not None:
            close_logger(self.logger, self.config, self.run.path, exit_code)
