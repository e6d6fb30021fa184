"""A run's logger: opened with what is recorded already, closed with the report of the finished run."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ncbench.config.identity import differences
from ncbench.config.root import Config
from ncbench.records.run_hash import run_id
from ncbench.run.logged_as import logged_as
from ncbench.run.logging_rules import wandb_mode

if TYPE_CHECKING:
    from ncbench.training.loggers import RunLogger

__all__ = ["close_logger", "learning_rate", "open_logger"]

_log = logging.getLogger(__name__)


def open_logger(
    config: Config, folder: Path, recorded: Mapping[str, Any], overrides: Sequence[str]
) -> "RunLogger | None":
    """The logger of the configuration, which has sent all that is recorded; None where there is only the run folder.

    `recorded` is the configuration as it stands in config.yaml. WANDB_MODE is obeyed as
    `ncbench.run.logging_rules.wandb_mode` says; a run that it disables is said so in the log. The logger's package is
    imported here and nowhere else: W&B and matplotlib take seconds that other runs need not wait for.
    """
    settings = config.logger
    if settings.kind == "local":
        return None
    if settings.kind == "csv":
        from ncbench.training.loggers.csv_table import CsvTable

        return CsvTable(folder)
    if settings.kind == "tensorboard":
        from ncbench.training.loggers.tensorboard import TensorBoard

        return TensorBoard(folder)
    mode = wandb_mode(settings)
    if mode == "disabled":
        _log.info("WANDB_MODE=disabled: nothing is handed to W&B")
        return None
    from ncbench.training.loggers.wandb_run import WandbRun

    return WandbRun(
        folder,
        offline=mode == "offline",
        run_id=run_id(differences(config)),
        config=recorded,
        project=settings.project,
        entity=settings.entity,
        **asdict(logged_as(folder, config, overrides)),
    )


def close_logger(logger: "RunLogger", config: Config, folder: Path, exit_code: int) -> None:
    """End the logger; it gets the report of a finished run, which is written into the run folder.

    A report that cannot be made or sent is said in the log and does not make the run a failed one.
    """
    try:
        if exit_code == 0 and config.logger.report and logger.shows_reports:
            from ncbench.report.__main__ import make_report

            # matplotlib's PDFs embed fonts, and tell of every table in them.
            logging.getLogger("fontTools").setLevel(logging.WARNING)
            logger.show_report(make_report(folder, folder)[0])
    except Exception:
        _log.warning("the report could not be handed to the logger", exc_info=True)
    finally:
        logger.close(exit_code)


def learning_rate(module: Any, optimizers: Sequence[Any]) -> float | None:
    """The rate of the next step: the median over the replicas of an ensemble, that of an optimiser's first group.

    None where the optimiser has none, such as L-BFGS, which looks for the length of every step.
    """
    rates = getattr(module, "rates", None) or _first_rate(optimizers)
    return float(np.median(rates)) if rates else None


def _first_rate(optimizers: Sequence[Any]) -> list[float]:
    """The rate of the first group of the first optimiser; none of what Lightning puts in the place of no optimiser."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return [float(group["lr"]) for group in groups[:1] if "lr" in group]
