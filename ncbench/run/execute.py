"""One run: train a configuration in its folder and leave a record that says how it ended."""

import logging
import math
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console

from ncbench.config.cores import threads_of
from ncbench.config.identity import differences
from ncbench.config.root import Config
from ncbench.records.folder import RunFolder, RunState
from ncbench.records.run_hash import config_hash
from ncbench.records.schema import HOLDER, LOCK, LOG, RUN_INFO, SCHEMA_VERSION, TABLES
from ncbench.records.writer import summarise
from ncbench.run.provenance import provenance
from ncbench.run.recorded import bring_up_to_date, state_of
from ncbench.run.session import RunSession
from ncbench.training.checkpoints import current_step

__all__ = ["execute"]

_log = logging.getLogger(__name__)


def execute(config: Config, folder: str | Path, *, command: str, overrides: Sequence[str] = ()) -> int:
    """Train one configuration in its folder; 0 when it is (or was) done, 1 when it failed, 2 for wrong input."""
    try:
        with RunFolder(folder) as run:
            if state_of(run, config) is RunState.DONE:
                bring_up_to_date(run, config)
                _say_where(run, "already done")
                return 0
            return _train(config, run, command, overrides)
    except ValueError as error:
        print(f"ncbench: {error}", file=sys.stderr)
        _remove_if_unused(Path(folder))
        return 2


def _train(config: Config, run: RunFolder, command: str, overrides: Sequence[str]) -> int:
    # Lightning's start-up lines say nothing that run.json does not.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(threads_of(config))
    trained = RunSession(config, run, Console(stderr=True))  # every ValueError of the user's making is raised here
    previous = run.info()
    run.update(
        status="running",
        name=config.name,
        schema_version=SCHEMA_VERSION,
        config_hash=config_hash(differences(config)),
        command=command,
        seed=config.seed,
        replicas=len(trained.built.replicas),
        started=previous.get("started", _now()),
        finished=None,
        error=None,
        **provenance(trained.trainer.strategy.root_device.type),
    )
    trained.write_inputs(overrides)
    log = logging.FileHandler(run.path / LOG)
    logging.getLogger().addHandler(log)
    began, before = time.monotonic(), previous.get("wall_seconds") or 0.0
    status, error, exit_code = "interrupted", None, 1
    try:
        trained.fit()
        status, exit_code = "done", 0
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns both signals into an exit
        error = f"{type(stop).__name__}: stopped by a signal"
    except Exception as failure:
        status, error = "failed", f"{type(failure).__name__}: {failure}"
        _log.error("the run failed\n%s", traceback.format_exc())
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
        wall = before + time.monotonic() - began
        steps = current_step(trained.trainer)
        speed = (steps - trained.resumed_at) * len(trained.built.replicas) / max(wall - before, 1e-9)
        run.update(
            status=status,
            finished=_now(),
            wall_seconds=wall,
            steps=steps,
            replica_steps_per_second=speed,
            error=error,
            final=summarise(run.path),
            **trained.replica_states(),
        )
        trained.close(exit_code)
    if status == "done":
        _say_where(run, f"done in {wall:.0f} s")
    else:
        print(f"ncbench: {status}: {error}; log in {run.path / LOG}", file=sys.stderr)
    return exit_code


def _say_where(run: RunFolder, what: str) -> None:
    final = run.info().get("final") or {}
    loss = (final.get("loss") or {}).get("median")
    of = "median loss" if (run.info().get("replicas") or 1) > 1 else "loss"
    shown = f", {of} {loss:.6g}" if loss is not None and math.isfinite(loss) else ""
    print(f"{what}{shown}: {run.path}\ndraw it: python -m ncbench.report {run.path}")


def _remove_if_unused(folder: Path) -> None:
    """A refused run leaves nothing behind: its folder goes if the lock is all it holds."""
    if not folder.is_dir() or (folder / RUN_INFO).exists():
        return
    of_a_refused_run = {LOCK, HOLDER, *TABLES}
    if any(
        entry.name not in of_a_refused_run or (entry.is_dir() and any(entry.iterdir())) for entry in folder.iterdir()
    ):
        return
    for entry in folder.iterdir():
        entry.rmdir() if entry.is_dir() else entry.unlink()
    folder.rmdir()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
