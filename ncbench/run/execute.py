"""One run: train a configuration in its folder and leave a record that says how it ended."""

import logging
import math
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ncbench.config.cores import threads_of
from ncbench.config.identity import differences
from ncbench.config.root import Config
from ncbench.records.folder import RunFolder, RunState
from ncbench.records.run_hash import config_hash
from ncbench.records.schema import HOLDER, LOCK, LOG, RUN_INFO, SCHEMA_VERSION, STOPPED, TABLES
from ncbench.records.standstill import standstill
from ncbench.records.whole_files import refuse_links_in
from ncbench.records.writer import summarise
from ncbench.run.environment import Asked, as_written, asked_of_environment, written_overrides
from ncbench.run.provenance import provenance
from ncbench.run.recorded import already_done, bring_up_to_date, state_of
from ncbench.run.session import RunSession
from ncbench.training.checkpoints import CheckpointError, current_step
from ncbench.training.divergence import DivergedError

__all__ = ["execute"]

_log = logging.getLogger(__name__)


def execute(
    config: Config,
    folder: str | Path,
    *,
    command: str,
    overrides: Sequence[str] = (),
    threads: int | None = None,
    composed: Any = None,
) -> int:
    """Train one configuration in its folder; 0 when it is (or was) done, 1 when it failed, 2 for wrong input.

    `threads` takes the place of `trainer.threads` where a run is repeated with as many as it had. `composed`
    is what Hydra made the configuration of: values that it asks of the environment are recorded as they were written.
    """
    try:
        with RunFolder(folder) as run:
            if state_of(run, config) is RunState.DONE:
                _say_where(run, already_done(bring_up_to_date(run, config)))
                return 0
            try:
                asked = {} if composed is None else asked_of_environment(composed)
                return _train(config, run, command, overrides, threads, asked)
            except ValueError:
                _remove_if_unused(Path(folder))  # while the folder is this process's own
                raise
    except ValueError as error:
        print(f"ncbench: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # such as a full disk, before the run could begin
        print(f"ncbench: failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _train(
    config: Config, run: RunFolder, command: str, overrides: Sequence[str], threads: int | None, asked: Asked
) -> int:
    # Lightning's start-up lines say nothing that run.json does not.
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    torch.set_num_threads(threads or threads_of(config))
    refuse_links_in(run.path)
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
    trained.write_inputs(as_written(config.plain(), asked), written_overrides(overrides))
    log = _Log(run.path / LOG)
    logging.getLogger().addHandler(log)
    before = previous.get("wall_seconds") or 0.0
    status, error = "interrupted", None
    try:
        trained.fit()
        status = "done"
    except (KeyboardInterrupt, SystemExit):  # Lightning turns both signals into an exit
        error = STOPPED
    except Exception as failure:
        status = "failed"
        error = (
            str(failure)
            if isinstance(failure, DivergedError | CheckpointError)
            else f"{type(failure).__name__}: {failure}"
        )
        _log.error("the run failed\n%s", traceback.format_exc())
    wall = trained.wall_seconds()
    # From here on nothing may hide how training ended, above all no disk that is full.
    status, error = _close(trained, log, status, error, wall, wall - before)
    if status == "done":
        _say_where(run, f"done in {wall:.0f} s")
        return 0
    why = " ".join(str(error).split())
    if status == "interrupted":
        print(
            f"ncbench: interrupted{why.removeprefix(STOPPED)}; the same command continues: {run.path}", file=sys.stderr
        )
    else:
        print(f"ncbench: {status}: {why}; log in {run.path / LOG}", file=sys.stderr)
    return 1


class _Log(logging.FileHandler):
    """The run's log. What cannot be written is left out: the run goes on, and its end is reported."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing, where logging's own handler prints a traceback for every line."""


def _close(
    trained: RunSession, log: logging.Handler, status: str, error: str | None, wall: float, seconds: float
) -> tuple[str, str | None]:
    """Close the log and W&B and write the end into run.json: the status and the error with what could not be done."""
    run, problems = trained.run, list[str]()
    steps = current_step(trained.trainer)
    values: dict[str, Any] = {"wall_seconds": wall, "steps": steps, **trained.replica_states()}
    speed = (steps - trained.resumed_at) * len(trained.built.replicas) / max(seconds, 1e-9)

    def end() -> dict[str, Any]:
        ended = "failed" if status == "done" and problems else status
        return {"status": ended, "error": "; and ".join([*([error] if error else []), *problems]) or None}

    for problem, step in (
        ("the log could not be closed", log.close),
        (
            "the final values could not be read",
            lambda: values.update(final=summarise(run.path), standstill=standstill(run.path)),
        ),
        (
            f"{RUN_INFO} could not be written",
            lambda: run.update(**end(), finished=_now(), replica_steps_per_second=speed, **values),
        ),
        ("W&B could not be closed", lambda: trained.close(0 if status == "done" else 1)),
    ):
        try:
            step()
        except Exception as failure:
            problems.append(f"{problem} ({failure})")
    logging.getLogger().removeHandler(log)
    return end()["status"], end()["error"]


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
        entry.name not in of_a_refused_run or entry.is_symlink() or (entry.is_dir() and any(entry.iterdir()))
        for entry in folder.iterdir()
    ):
        return
    for entry in folder.iterdir():
        entry.rmdir() if entry.is_dir() else entry.unlink()
    folder.rmdir()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
