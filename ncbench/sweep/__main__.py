"""`python -m ncbench.sweep plan OVERRIDES | status DIR | resume DIR | rerun RUN | verify RECORD`.

Exit status: 0 done (of status: every job is done; of rerun and verify: identical), 1 anything that failed or differs,
2 the input was wrong (one line).
"""

if __name__ == "__main__":
    from ncbench._safe_path import leave_current_folder

    leave_current_folder()  # first: what is imported after it is not the folder's

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ncbench._cli import Parser, SaidError, one_line, printing

__all__ = ["main"]

USAGE = """usage: python -m ncbench.sweep plan [+experiment=NAME] [key=v1,v2 ...] [--config-dir DIR]
              compose and validate every job and say what they need; nothing is started or written
       python -m ncbench.sweep status DIR [--all]
              in what state the jobs of a sweep are; --all lists those that are done, too
       python -m ncbench.sweep resume DIR [hydra.launcher.KEY=VALUE ...]
              run what is not done, as the sweep's own command does, also with another executor
       python -m ncbench.sweep rerun RUN [--out DIR] [--trust PACKAGE]
              train a run's configuration again in a new folder: identical, or the first value that differs
       python -m ncbench.sweep verify RECORD [--out DIR] [--note] [dataset.root=DIR] [--trust PACKAGE]
              train a committed record's configuration again, in a temporary folder or in --out: identical, bit for
              bit, by the digests of the weights at every measured step, or the first step that differs; --note keeps
              in the record for which processor they were identical
       rerun and verify train what a folder names: classes of ncbench, torch and torchvision, and of each PACKAGE

A sweep is started by `python -m ncbench.train -m ...`; the same command again continues it.
"""


@printing
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own arguments) and return its exit status.

    An unknown command is a ValueError, which ends it with status 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {"plan": _plan, "status": _status, "resume": _resume, "rerun": _rerun, "verify": _verify}
    if "-h" in words or "--help" in words:
        print(USAGE, end="")
        return 0
    try:
        if not words or words[0] not in commands:
            given = f"{words[0]}: unknown command; " if words else ""
            raise ValueError(f"{given}one of {', '.join(commands)} is needed (see --help)")
        return commands[words[0]](words[1:])
    except (ValueError, FileNotFoundError) as error:
        if not isinstance(error, SaidError):
            print(f"ncbench: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ncbench: interrupted", file=sys.stderr)
        return 1


def _plan(words: list[str]) -> int:
    from ncbench.run.compose import compose_command, with_default_experiment
    from ncbench.run.found import finished_elsewhere, where_found
    from ncbench.sweep.composing import counting_jobs
    from ncbench.sweep.options import SweepOptions
    from ncbench.sweep.planning import make_plan, trained_twice
    from ncbench.sweep.show import plan_text

    parser = _parser()
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    options = parser.parse_intermixed_args(words)
    directories = [options.config_dir] if options.config_dir else []
    overrides = with_default_experiment(options.overrides)
    with counting_jobs() as progress:
        command = compose_command(overrides, multirun=True, config_dirs=directories, progress=progress)
    text = shlex.join(["python", "-m", "ncbench.train", "-m", *words])
    plan = make_plan(command, text, directories, SweepOptions.of(command.launcher))
    print(plan_text(plan), end="")
    if found := finished_elsewhere(command.jobs):
        print(f"and takes over {where_found(found)}")
    if twice := trained_twice(command.jobs):
        print(f"ncbench: {twice}", file=sys.stderr)
    return 0


def _status(words: list[str]) -> int:
    from ncbench.sweep.plan import read_plan
    from ncbench.sweep.show import status_text
    from ncbench.sweep.states import states_of

    parser = _parser()
    parser.add_argument("dir")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args(words)
    plan = read_plan(options.dir)
    states = states_of(plan)
    print(status_text(plan, states, every=options.all), end="")
    return 0 if all(state.status == "done" for state in states) else 1


def _resume(words: list[str]) -> int:
    from ncbench.sweep.launch import carry_out
    from ncbench.sweep.options import SweepOptions
    from ncbench.sweep.plan import read_plan

    parser = _parser()
    parser.add_argument("dir")
    parser.add_argument("options", nargs="*")
    given = parser.parse_intermixed_args(words)
    plan = read_plan(given.dir)
    if given.options:
        plan = replace(plan, options=SweepOptions.of(_changed(asdict(plan.options), given.options)))
    return carry_out(plan)


def _changed(values: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """The launcher's keys with those of the command line, which are read as by `ncbench.train`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    merged = OmegaConf.create(values)
    for option in options:
        try:
            override = OverridesParser.create().parse_override(option)
            key, value = override.key_or_group, override.value()
        except HydraException as error:
            raise ValueError(f"{option}: {' '.join(str(error).split())}") from None
        if not key.startswith("hydra.launcher.") or override.is_sweep_override():
            rule = "must be hydra.launcher.KEY=VALUE, with one value; a sweep's jobs are what its command made"
            raise ValueError(f"{option}: {rule}")
        OmegaConf.update(merged, key.removeprefix("hydra.launcher."), value, force_add=True)
    plain: Any = OmegaConf.to_container(merged)
    return dict(plain)


def _rerun(words: list[str]) -> int:
    from ncbench.sweep.again import rerun

    run, out, trust = _folder_and_out(words)
    return rerun(run, out, trust)


def _verify(words: list[str]) -> int:
    from ncbench.sweep.verify import verify

    key = "dataset.root="
    folders = [word.removeprefix(key) for word in words if word.startswith(key)]
    if len(folders) > 1 or "" in folders:
        raise ValueError(f"{key}{folders[-1]}: must be one folder")
    parser = _parser()
    parser.add_argument("--note", action="store_true")
    options, others = parser.parse_known_args([word for word in words if not word.startswith(key)])
    record, out, trust = _folder_and_out(others)
    return verify(record, out, Path(folders[0]) if folders else None, trust, note=options.note)


def _parser() -> Parser:
    return Parser(add_help=False, allow_abbrev=False)


def _folder_and_out(words: list[str]) -> tuple[Path, Path | None, tuple[str, ...]]:
    from ncbench.config.trusted import check_trust

    parser = _parser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trust", action="append", default=[])
    options = parser.parse_args(words)
    return options.run, options.out, check_trust(options.trust)


if __name__ == "__main__":
    sys.exit(main())
