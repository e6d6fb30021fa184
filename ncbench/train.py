"""The entry point: `python -m ncbench.train +experiment=NAME [overrides]`, with -m a grid of jobs.

Every job is composed and validated before the first one starts and before torch is imported. Exit status: 0 done,
2 the input was wrong (one line, nothing touched), 1 anything else (the traceback is in the run's log).
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench._cli import collector_off, printing
from ncbench.run.flags import parse
from ncbench.run.guard import guarded
from ncbench.run.signals import Stopped

if TYPE_CHECKING:
    from ncbench.run.compose import Command, Job
    from ncbench.run.launched import Statuses

__all__ = ["main"]

USAGE = """usage: python -m ncbench.train [+experiment=NAME] [key=value ...]        one run
       python -m ncbench.train -m [+experiment=NAME] [key=v1,v2 ...]     one job per point of the grid
       python -m ncbench.train --list [quick|paper] [PAPER] [--names] [--config-dir DIR]    the experiments
       python -m ncbench.train --config-dir DIR +experiment=MINE         with yaml files of your own

Without an experiment, digits_mlp is run. A run goes to outputs/<name>/<hash of its configuration>; the same command
finds the same folder again, leaves a finished run as it is and continues an interrupted one. Often changed
  in any experiment:                seed=1  model.depth=5  model.width=128  logger=wandb_offline  hydra.run.dir=DIR
  of a network such as digits_mlp:  trainer.max_epochs=20  optimizer.lr=0.02  dataset=mnist dataset.root=DIR
  of free features (dufm_k10):      schedule.steps=5000  replicate.seed=8
Every key of a run: --cfg job. Hydra's own flags: --hydra-help.
"""


@printing
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own arguments) and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    options, for_hydra = parse(arguments)
    if options.help:
        print(USAGE, end="")
        return 0
    return _list(options) if options.list else _run(options, for_hydra)


def _list(options: Any) -> int:
    from ncbench.run.listing import list_experiments

    names = list_experiments(options.overrides, names_only=options.names, config_dirs=_directories(options))
    print(names, end="")
    return 0


def _directories(options: Any) -> list[str]:
    """The folder of `--config-dir`, if there is one."""
    if options.config_dir is not None and not Path(options.config_dir).is_dir():
        raise ValueError(f"--config-dir {options.config_dir}: no such directory")
    return [] if options.config_dir is None else [options.config_dir]


def _run(options: Any, for_hydra: list[str]) -> int:
    from ncbench.run.compose import check_composed, compose_command, with_default_experiment

    completing = "--shell-completion" in for_hydra
    overrides = options.overrides if completing else with_default_experiment(options.overrides)
    directories = _directories(options)
    flags = ["--config-dir", *directories] if directories else []

    # Questions to Hydra (--cfg, --info, ...) are answered by Hydra, if there is something to be told.
    if for_hydra:
        if {"--cfg", "--info"} & set(for_hydra):
            check_composed(overrides, directories, multirun=options.multirun, package=getattr(options, "--package"))
        flags += ["--multirun"] if options.multirun else []
        return _by_hydra([*overrides, *flags, *for_hydra])

    from ncbench.run.found import brought_here
    from ncbench.sweep.composing import counting_jobs

    # Every job is composed and validated, here and only here; an experiment's own grid makes a grid of the command.
    with counting_jobs() as progress:
        command = compose_command(overrides, multirun=options.multirun, config_dirs=directories, progress=progress)
    with brought_here(command.jobs):
        if command.multirun:
            text = _command_line([*(["-m"] if options.multirun else []), *overrides, *flags])
            return _grid(command, text, directories)
        return _single(command.jobs[0], _command_line([*overrides, *flags]))


def _single(job: "Job", command: str) -> int:
    """The one run of a command line, composed and validated already."""
    from ncbench.config.identity import differences
    from ncbench.records.folder import RunFolder, RunState
    from ncbench.records.run_hash import PLANNED_HASH, config_hash
    from ncbench.run.recorded import already_done, bring_up_to_date, not_kept, state_of

    planned = os.environ.get(PLANNED_HASH)
    if planned and planned != config_hash(differences(job.config)):
        raise ValueError("the files of this configuration were changed since the sweep was planned; plan it again")

    # The folder decides first: a finished run is said to be so before torch is imported, another one's is refused.
    run = RunFolder(job.folder)
    if state_of(run, job.config) is RunState.DONE:
        changed = bring_up_to_date(run, job.config, job.overrides)
        said = already_done(changed, not_kept(run, job.config))
        print(f"{said}: {job.folder}\ndraw it: python -m ncbench.report {job.folder}")
        return 0

    with collector_off():
        from ncbench.run.execute import execute
    from ncbench.run.hydra_job import as_hydra_job

    overrides = job.composed.hydra.overrides.task
    with as_hydra_job(job) as folder:
        chdir = bool(job.composed.hydra.job.chdir)
        return execute(job.config, folder, command=command, overrides=overrides, chdir=chdir, composed=job.composed)


def _grid(command: "Command", text: str, directories: list[str]) -> int:
    """A grid of jobs; where all of them are refused, and none was begun before, nothing of it is left behind."""
    from ncbench.sweep.taken_back import FolderBefore

    assert command.folder is not None
    before = FolderBefore(command.folder)
    status = _carried_out(command, text, directories)
    if status == 2:
        before.restore([job.folder for job in command.jobs])
    return status


def _carried_out(command: "Command", text: str, directories: list[str]) -> int:
    """The same by the pool, or by another launcher or sweeper of Hydra's."""
    if command.choices == {"launcher": "pool", "sweeper": "basic"} and not command.callbacks:
        from ncbench.sweep.launch import carry_out_command

        return carry_out_command(command, text, directories)
    flags = ["--config-dir", *directories] if directories else []
    arguments = [*command.overrides, *flags, "--multirun"]
    # One folder for the same grid, so that the same command finds its jobs again.
    folder = command.folder
    assert folder is not None
    if not any(_sets(override, "hydra.sweep.dir") for override in command.overrides):
        from ncbench.run.composer import quoted

        arguments.insert(0, f"hydra.sweep.dir={quoted(str(folder))}")
    from ncbench.run.launched import Statuses, came_to_its_end, say_how_it_went

    told = Statuses(folder)
    pool = command.choices["launcher"] == "pool"
    ended = came_to_its_end(lambda: _by_hydra(arguments, told), refuses=pool)
    if pool:  # it has said what became of the jobs
        from ncbench.sweep.launch import exit_status
        from ncbench.sweep.plan import read_plan

        return exit_status(read_plan(folder)) if ended else 1
    # A job that failed does not stop the others: all are named at the end, and the highest status is that of the grid.
    return max(0 if ended else 1, say_how_it_went(told.of(command.jobs), folder))


def _by_hydra(arguments: list[str], told: "Statuses | None" = None) -> int:
    """Hydra's own main on these arguments; every job's exit status is told."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from ncbench.claims.conf_dir import CONF_DIR
    from ncbench.run.values import register_resolvers

    register_resolvers()
    command = _command_line(arguments)

    @hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
    def task(composed: Any) -> None:
        from ncbench.records.folder import RunFolder
        from ncbench.run.execute import execute
        from ncbench.run.values import plain_values, validated, with_paper

        job = HydraConfig.get()
        folder = job.runtime.output_dir
        config = validated(with_paper(plain_values(composed), job))
        with contextlib.chdir(job.runtime.cwd):
            overrides = list(job.overrides.task)
            status = execute(
                config, folder, command=command, overrides=overrides, chdir=bool(job.job.chdir), composed=composed
            )
        if told is not None:
            told.tell(folder, status)
        if RunFolder(folder).info().get("status") == "interrupted":
            raise KeyboardInterrupt  # a signal stops the whole command, not one job of it

    before, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        task()
    except (KeyboardInterrupt, Stopped):
        return 1
    finally:
        sys.argv = before
    return 0


def _command_line(arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "ncbench.train", *arguments])


def _sets(override: str, key: str) -> bool:
    return override.lstrip("+~").partition("=")[0] == key


if __name__ == "__main__":
    sys.exit(main())
