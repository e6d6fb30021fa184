"""One run: train a configuration in its folder and leave a record that says how it ended."""

import contextlib
import logging
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ncbench._cli import of_file_system
from ncbench.config.cores import threads_of
from ncbench.config.identity import differences
from ncbench.config.root import Config
from ncbench.measure.failures import message_of
from ncbench.records.checksums import CheckpointError
from ncbench.records.errors import BadRecordsError
from ncbench.records.folder import RunFolder, RunState
from ncbench.records.lock import LostFolderError
from ncbench.records.run_hash import config_hash
from ncbench.records.run_info import frozen
from ncbench.records.schema import LOG, RUN_INFO, SCHEMA_VERSION, STOPPED
from ncbench.records.standstill import standstill
from ncbench.records.whole_files import refuse_links_in
from ncbench.records.writer import summarise
from ncbench.run.environment import Asked, as_written, asked_of_environment, written_overrides
from ncbench.run.one_line_errors import lacks_memory
from ncbench.run.provenance import provenance
from ncbench.run.recorded import already_done, bring_up_to_date, not_kept, state_of
from ncbench.run.session import RunSession
from ncbench.run.signals import StopSignals
from ncbench.training.checkpoints import current_step
from ncbench.training.divergence import DivergedError

__all__ = ["execute"]

_log = logging.getLogger(__name__)

_OURS = (DivergedError, CheckpointError, BadRecordsError)  # which say in a sentence what is wrong


def execute(
    config: Config,
    folder: str | Path,
    *,
    command: str,
    overrides: Sequence[str] = (),
    threads: int | None = None,
    chdir: bool = False,
    composed: Any = None,
) -> int:
    """Train one configuration in its folder; 0 when it is (or was) done, 1 when it failed, 2 for wrong input.

    `threads` takes the place of `trainer.threads` where a run is repeated with as many as it had. With `chdir` the
    folder is the current one while it trains (`hydra.job.chdir`). `composed` is what Hydra made the configuration of:
    values that it asks of the environment are recorded as they were written.
    """
    run = RunFolder(folder)
    try:
        asked = {} if composed is None else asked_of_environment(composed)
        # What is wrong is found before there is a lock or a folder: a refused run leaves nothing behind.
        refuse_links_in(run.path)
        with StopSignals() as signals:
            trained = None if state_of(run, config) is RunState.DONE else _prepared(config, run, signals, threads)
            with run:
                if trained is None or state_of(run, config) is RunState.DONE:
                    changed = bring_up_to_date(run, config, written_overrides(overrides))
                    _say_where(run, already_done(changed, not_kept(run, config)))
                    return 0
                refuse_links_in(run.path)  # which may have come meanwhile
                with contextlib.chdir(run.path) if chdir else contextlib.nullcontext():
                    return _train(config, trained, command, overrides, asked)
    except ValueError as error:
        print(f"ncbench: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # such as a full disk, before the run could begin
        print(f"ncbench: failed: {of_file_system(error)}", file=sys.stderr)
        return 1


def _prepared(config: Config, run: RunFolder, signals: StopSignals, threads: int | None) -> RunSession:
    """Data, network and trainer; every ValueError of the user's making is raised here."""
    # Lightning's start-up lines say nothing that run.json does not.
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    torch.set_num_threads(threads or threads_of(config))
    return RunSession(config, run, Console(stderr=True), signals)


def _train(config: Config, trained: RunSession, command: str, overrides: Sequence[str], asked: Asked) -> int:
    run = trained.run
    previous = run.info()
    trained.start_clock(before := previous.get("wall_seconds") or 0.0)
    log: _Log | None = None
    status, error = "interrupted", None
    try:
        # Before anything else is written: from here on the folder says how the run ends, whatever ends it.
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
        trained.fit()
        status = "done"
    except (KeyboardInterrupt, SystemExit):
        error = STOPPED
    except Exception as failure:
        # What a second signal breaks off, such as the saving of a checkpoint, may end with an error of its own.
        stopped = trained.signals.has_raised()
        status, error = ("interrupted", STOPPED) if stopped else ("failed", _told(failure))
        _log_failure(log, failure)
    wall = trained.wall_seconds()
    # From here on nothing may hide how training ended, above all no disk that is full and no further signal.
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
        where = f"; log in {run.path / LOG}" if (run.path / LOG).exists() else ""
        print(f"ncbench: {status}: {why}{where}", file=sys.stderr)
    return 1


def _told(failure: Exception) -> str:
    """Why a run failed; the name of an exception only where the program itself is at fault."""
    if isinstance(failure, OSError):
        return of_file_system(failure)
    if lacking := lacks_memory(failure):
        return f"the training {lacking}"
    if isinstance(failure, RuntimeError) and "without overflow" in str(failure):  # what torch says of an lr of 1e300
        return "a rate or a decay of the configuration is larger than any number of trainer.precision"
    return str(failure) if isinstance(failure, _OURS) else f"{type(failure).__name__}: {message_of(failure)}"


def _log_failure(log: logging.FileHandler | None, failure: Exception) -> None:
    """The traceback goes into the log alone: what is printed is one line, which says where the log is.

    What cannot be written into the run's folder has none: on a full disk it would take the room of run.json's end.
    """
    if log is not None:
        text = "\n" + "".join(traceback.format_exception(failure))
        if isinstance(failure, _OURS):
            text = f": {failure}"
        elif isinstance(failure, OSError) and Path(str(failure.filename)).is_relative_to(Path(log.baseFilename).parent):
            text = f": {of_file_system(failure)}"
        log.handle(_log.makeRecord(_log.name, logging.ERROR, __file__, 0, "the run failed%s", (text,), None))


class _Log(logging.FileHandler):
    """The run's log. What cannot be written is left out: the run goes on, and its end is reported."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing, where logging's own handler prints a traceback for every line."""


def _close(
    trained: RunSession, log: logging.Handler | None, status: str, error: str | None, wall: float, seconds: float
) -> tuple[str, str | None]:
    """Close the log and W&B and write the end into run.json: the status and the error with what could not be done."""
    run, problems = trained.run, list[str]()
    steps = max(current_step(trained.trainer), trained.resumed_at)  # it may end before it has loaded its checkpoint
    values: dict[str, Any] = {"wall_seconds": wall, "steps": steps, **trained.replica_states()}
    speed = (steps - trained.resumed_at) * len(trained.built.replicas) / max(seconds, 1e-9)

    def end() -> dict[str, Any]:
        ended = "failed" if status == "done" and problems else status
        return {"status": ended, "error": "; and ".join([*([error] if error else []), *problems]) or None}

    what_is_left = [
        # Before the folder is let go of: nothing is recorded in it after that.
        ("a measurement could not be recorded", trained.collapse.end),
        ("the log could not be closed", log.close if log is not None else lambda: None),
        (
            "the final values could not be read",
            lambda: values.update(
                final=summarise(run.path, without=frozen(values, "diverged")),
                standstill=standstill(run.path, without=frozen(values, "diverged")),
            ),
        ),
        (
            f"{RUN_INFO} could not be written",
            # Where not even the beginning could be written there is no run that has an end.
            lambda: (
                run.update(**end(), finished=_now(), replica_steps_per_second=speed, **values) if run.info() else None
            ),
        ),
    ]

    def do(problem: str, step: Callable[[], object]) -> None:
        try:
            step()
        except LostFolderError as failure:
            problems.extend([] if str(failure) == error else [str(failure)])
        except OSError as failure:
            problems.append(f"{problem} ({of_file_system(failure)})")
        except (Exception, SystemExit) as failure:
            problems.append(f"{problem} ({str(failure) or type(failure).__name__})")

    with trained.signals.ending():
        for problem, step in what_is_left:
            do(problem, step)
    do("W&B could not be closed", lambda: trained.close(0 if status == "done" else 1))  # which may wait for a network
    if log is not None:
        logging.getLogger().removeHandler(log)
    return end()["status"], end()["error"]


def _say_where(run: RunFolder, what: str) -> None:
    final = run.info().get("final") or {}
    loss = (final.get("loss") or {}).get("median")
    of = "median loss" if (run.info().get("replicas") or 1) > 1 else "loss"
    shown = f", {of} {loss:.6g}" if loss is not None and math.isfinite(loss) else ""
    print(f"{what}{shown}: {run.path}\ndraw it: python -m ncbench.report {run.path}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
