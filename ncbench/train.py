"""The entry point: `python -m ncbench.train +experiment=NAME [overrides]`, with -m a grid of jobs.

Every job is composed and validated before Hydra's own main starts and before torch is imported. Exit status: 0 done,
2 the input was wrong (one line, nothing touched), 1 anything else (the traceback is in the run's log).
"""

import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["main"]

USAGE = """usage: python -m ncbench.train [+experiment=NAME] [key=value ...]        one run
       python -m ncbench.train -m [+experiment=NAME] [key=v1,v2 ...]     one job per point of the grid
       python -m ncbench.train --list [quick|paper] [PAPER] [--names] [--config-dir DIR]    the experiments
       python -m ncbench.train --config-dir DIR +experiment=MINE         with yaml files of your own

Without an experiment, digits_mlp is run. A run goes to outputs/<name>/<hash of its configuration>; the same command
finds the same folder again, leaves a finished run as it is and continues an interrupted one. Often changed:
  seed=1   model.depth=5   model.width=128   objective.weight_decay=1e-3   dataset=mnist   dataset.root=DIR
  trainer.max_epochs=20   schedule.steps=5000   replicate.seed=8   logger=wandb_offline   hydra.run.dir=DIR
Every key of a run: --cfg job. Hydra's own flags: --hydra-help.
"""

DEFAULT_EXPERIMENT = "digits_mlp"
_HYDRA_ONLY = ("--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own arguments) and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    try:
        if "--list" in arguments:
            return _list([argument for argument in arguments if argument != "--list"])
        return _run(arguments)
    except ValueError as error:
        print(f"ncbench: {error}", file=sys.stderr)
        return 2


def _list(words: list[str]) -> int:
    from ncbench._cli import Parser
    from ncbench.run.listing import list_experiments

    parser = Parser(prog="python -m ncbench.train --list", add_help=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--names", action="store_true")
    parser.add_argument("--config-dir")
    flags = parser.parse_intermixed_args(words)
    print(list_experiments(flags.words, names_only=flags.names, config_dirs=_directories(flags.config_dir)), end="")
    return 0


def _directories(config_dir: str | None) -> list[str]:
    """The folders of `--config-dir`."""
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ValueError(f"--config-dir {config_dir}: no such directory")
    return [] if config_dir is None else [config_dir]


def _run(arguments: list[str]) -> int:
    from hydra._internal.utils import get_args_parser

    from ncbench.run.compose import compose_jobs, experiment_grid, register_resolvers

    parser: Any = get_args_parser()
    parser.error = _refuse
    flags = parser.parse_intermixed_args(arguments)
    options = list(arguments)
    for override in flags.overrides:
        options.remove(override)
    arguments = [*flags.overrides, *options]  # Hydra's parser wants all overrides side by side
    if not any(_names(override, "experiment") for override in flags.overrides):
        arguments.insert(0, f"+experiment={DEFAULT_EXPERIMENT}")
        flags.overrides.append(f"+experiment={DEFAULT_EXPERIMENT}")
    directories = _directories(flags.config_dir)
    if any(flag in arguments for flag in _HYDRA_ONLY):
        register_resolvers()
        return _hydra(arguments, [])
    grid = experiment_grid(flags.overrides, config_dirs=directories)
    if grid:
        arguments = [*grid, *arguments, *([] if flags.multirun else ["--multirun"])]
        flags.overrides, flags.multirun = [*flags.overrides, *grid], True
    jobs = compose_jobs(flags.overrides, multirun=flags.multirun, config_dirs=directories)
    if flags.multirun:
        if not any(_names(override, "hydra.sweep.dir") for override in flags.overrides):
            sweep = hashlib.sha256("\n".join(sorted(flags.overrides)).encode()).hexdigest()[:10]
            arguments.insert(0, f"hydra.sweep.dir={jobs[0].folder.parent.parent}/sweep-{sweep}")
    else:
        _refuse_or_finish = _settled(jobs[0])
        if _refuse_or_finish is not None:
            return _refuse_or_finish
    outcomes: list[tuple[str, int]] = []
    hydra_status = _hydra(arguments, outcomes)
    failed = [(folder, status) for folder, status in outcomes if status]
    if flags.multirun:
        print(f"{len(outcomes) - len(failed)} of {len(jobs)} jobs done", file=sys.stderr)
        for folder, status in failed:
            print(f"ncbench: exit status {status}: {folder}", file=sys.stderr)
        if outcomes:
            root = outcomes[0][0].rpartition("/")[0]
            print(f"draw all: python -m ncbench.report {root}")
    return max([hydra_status, *(status for _, status in failed)])


def _settled(job: Any) -> int | None:
    """The exit status of a run that needs no training (done already), or None; ValueError where it may not start."""
    from ncbench.records.folder import RunFolder, RunState
    from ncbench.records.identity import config_hash
    from ncbench.records.sync_claims import update_claims

    if RunFolder(job.folder).state(config_hash(job.values)) is not RunState.DONE:
        return None
    update_claims(job.folder, job.values)
    print(f"already done: {job.folder}\ndraw it: python -m ncbench.report {job.folder}")
    return 0


def _hydra(arguments: list[str], outcomes: list[tuple[str, int]]) -> int:
    """Hydra's own main on these arguments; every job's folder and exit status are added to `outcomes`."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from ncbench.claims.conf_dir import CONF_DIR

    command = shlex.join(["python", "-m", "ncbench.train", *arguments])

    @hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
    def task(composed: Any) -> None:
        from ncbench.records.folder import RunFolder
        from ncbench.run.compose import plain_values, with_paper
        from ncbench.run.execute import execute

        own = HydraConfig.get()
        folder = own.runtime.output_dir
        values = with_paper(plain_values(composed), own)
        status = execute(values, folder, command=command, overrides=list(own.overrides.task))
        outcomes.append((folder, status))
        if RunFolder(folder).info().get("status") == "interrupted":
            raise KeyboardInterrupt  # a signal stops the whole command, not one job of it

    kept, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        task()
    except KeyboardInterrupt:
        return 1
    finally:
        sys.argv = kept
    return 0


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message} (see --help)")


def _names(override: str, key: str) -> bool:
    return override.lstrip("+~").partition("=")[0] == key


if __name__ == "__main__":
    sys.exit(main())
