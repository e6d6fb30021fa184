"""Carries out a sweep: writes its plan, hands the jobs that are not done to the executor, says how it went."""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ncbench.records.errors import BadRecordsError
from ncbench.records.folder import RunFolder, RunState
from ncbench.records.schema import RUN_INFO
from ncbench.run.signals import STOPPING
from ncbench.sweep.options import SweepOptions
from ncbench.sweep.plan import Plan, PlannedJob, add_to_plan
from ncbench.sweep.pool import Pool
from ncbench.sweep.progress import Progress
from ncbench.sweep.states import JobState, log_of, states_of

if TYPE_CHECKING:
    from ncbench.run.compose import Command

__all__ = ["carry_out", "carry_out_command", "exit_status", "launch_batch"]


def carry_out(plan: Plan) -> int:
    """Run every job of the plan that is not done. Exit status 0 if all are, 1 if one is not, 2 if all that failed
    had wrong input. ValueError of one line where a job cannot be run here at all."""
    states = states_of(plan)
    jobs = [job for job, state in zip(plan.jobs, states, strict=True) if state.status != "done"]
    console = Console(stderr=True)
    progress = Progress(plan, jobs, len(plan.jobs) - len(jobs), console)
    if len(jobs) < len(plan.jobs):
        progress.says(f"{len(plan.jobs) - len(jobs)} of {len(plan.jobs)} jobs are done already")
    execute = _executor(plan, jobs, progress)
    add_to_plan(plan)
    with progress.shown(), _ended_by_signals():
        execute()
    return _summary(plan, console)


def carry_out_command(command: "Command", text: str, config_dirs: Sequence[str]) -> int:
    """The same for a composed command, `text` as a person gave it; what is done takes over the present claims.

    A done job of which a file is damaged is named at the end, and the exit status is not 0.
    """
    from ncbench.run.recorded import already_done, bring_up_to_date, not_kept, state_of
    from ncbench.sweep.planning import make_plan, trained_twice

    plan = make_plan(command, text, config_dirs, SweepOptions.of(command.launcher))
    if twice := trained_twice(command.jobs):
        print(f"ncbench: {twice}", file=sys.stderr)
    changed, lacking, damaged = dict[str, None](), set[int](), list[str]()
    for planned, job, state in zip(plan.jobs, command.jobs, states_of(plan), strict=True):
        try:
            if state.status == "done" and state_of(run := RunFolder(job.folder), job.config) is RunState.DONE:
                changed |= dict.fromkeys(bring_up_to_date(run, job.config, job.overrides, quick=True))
                lacking |= set(not_kept(run, job.config))
        except BadRecordsError as error:
            damaged.append(f"ncbench: job {planned.number} ({planned.label}): {error}")
        except (ValueError, OSError):  # what is of another run is named when the jobs are carried out
            continue
    if changed or lacking:
        print(already_done(list(changed), sorted(lacking)))
    status = carry_out(plan)
    for line in damaged:
        print(line, file=sys.stderr)
    return status or 2 if damaged else status


def _executor(plan: Plan, jobs: list[PlannedJob], progress: Progress) -> Callable[[], None]:
    """What carries the jobs out; a missing engine or a wrong parameter is refused here, before anything is written."""
    if not jobs:
        return lambda: None
    if plan.options.executor == "local":
        _check(plan)
        return Pool(plan, jobs, progress).run
    if plan.options.executor == "slurm":
        from ncbench.sweep.slurm import prepare_submitit

        return prepare_submitit(plan, jobs, progress)
    from ncbench.sweep.ray_tasks import prepare_ray

    return prepare_ray(plan, jobs, progress)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Every signal that asks to stop ends the engines as Ctrl-C does; the pool has handlers of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = [(of, signal.signal(of, interrupted)) for of in STOPPING if signal.getsignal(of) != signal.SIG_IGN]
    try:
        yield
    finally:
        for of, handler in before:
            signal.signal(of, handler)


def _check(plan: Plan) -> None:
    gpus = plan.options.gpus_here()
    for job in plan.jobs:
        if gpus and job.takes_gpu and job.devices > len(gpus):
            raise ValueError(f"trainer.devices={job.devices}: must be at most {len(gpus)}, the GPUs of this machine")


def _summary(plan: Plan, console: Console) -> int:
    states = states_of(plan)
    if all(state.refused and not (job.path / RUN_INFO).exists() for job, state in zip(plan.jobs, states, strict=True)):
        for reason in dict.fromkeys(state.reason for state in states):  # as one refused command says it
            console.print(f"ncbench: {reason}", soft_wrap=True, markup=False, highlight=False)
        return exit_status(plan)
    count = {status: sum(state.status == status for state in states) for status in ("done", "failed")}
    left = len(states) - count["done"] - count["failed"]
    said = [f"{count['done']} of {len(states)} jobs done"]
    said += [f"{count['failed']} failed"] if count["failed"] else []
    said += [f"{left} left"] if left else []
    running = sum(state.status == "running" for state in states)
    said += [f"of which {running} still running"] if running else []
    for job, state in zip(plan.jobs, states, strict=True):
        if state.status in ("failed", "interrupted"):
            _say_why(plan, job, state, console)
    if count["done"]:
        print(f"draw all: python -m ncbench.report {_shown(plan.folder)}", flush=True)
    continues = f"; the same command continues: {plan.command}" if count["done"] < len(states) else ""
    console.print(", ".join(said) + continues, soft_wrap=True, markup=False, highlight=False)
    if plan.options.executor == "slurm" and not plan.options.slurm.get("wait", True) and not count["failed"]:
        return 0  # submitted, as asked for
    return exit_status(plan)


def exit_status(plan: Plan) -> int:
    """0 if all jobs are done, 2 if all that are not had wrong input, else 1."""
    wrong = [state.refused for state in states_of(plan) if state.status != "done"]
    return 0 if not wrong else 2 if all(wrong) else 1


def _say_why(plan: Plan, job: PlannedJob, state: JobState, console: Console) -> None:
    what = f"ncbench: job {job.number} ({job.label}) {state.status}: {state.reason or 'it did not get to its end'}"
    where = f"{_shown(job.path)}; printed: {_shown(log_of(plan, job))}"
    console.print(f"{what}\n  run: {where}", soft_wrap=True, markup=False, highlight=False)


def _shown(path: Path) -> str:
    """A path as short as it can be given from here, for a shell."""
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(short))


def launch_batch(config: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[float | None]:
    """A batch of jobs of one of Hydra's own sweepers; the final loss of each (None where it has none)."""
    from omegaconf import OmegaConf

    from ncbench.run.compose import compose_points
    from ncbench.sweep.planning import planned_job

    searched = [source.path for source in config.hydra.runtime.config_sources if source.provider == "command-line"]
    jobs = compose_points([[*config.hydra.overrides.hydra, *of_job] for of_job in job_overrides], first, searched)
    shared = set.intersection(*(set(of_job) for of_job in job_overrides)) if len(jobs) > 1 else set()
    planned = []
    for place, (job, of_job) in enumerate(zip(jobs, job_overrides, strict=True)):
        own = [override.partition("=")[0].lstrip("+") for override in of_job if override not in shared]
        planned.append(planned_job(first + place, job, own, searched))
    folder = Path(config.hydra.sweep.dir).absolute()
    folders = [word for path in searched for word in ("--config-dir", path)]
    words = [*config.hydra.overrides.hydra, *config.hydra.overrides.task, *folders]
    command = shlex.join(["python", "-m", "ncbench.train", "-m", *words])
    options: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    plan = Plan(folder, command, {}, SweepOptions.of(options), planned)
    carry_out(plan)
    return [state.loss for state in states_of(plan)]
