"""The options of `python -m ncbench.train`: our own, and those of Hydra's that are handed on to it."""

from collections.abc import Sequence
from typing import Any

from ncbench._cli import Parser, UsageError

__all__ = ["parse"]

# Options that are Hydra's alone: a line with one of them goes to Hydra's own main. The number of values that follow.
_OF_HYDRA: tuple[tuple[tuple[str, ...], str | int], ...] = (
    (("--hydra-help",), 0),
    (("--version",), 0),
    (("--resolve",), 0),
    (("--shell-completion", "-sc"), 0),
    (("--cfg", "-c"), 1),
    (("--package", "-p"), 1),
    (("--info", "-i"), "?"),
)
_CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
# Hydra's options that have no meaning here, and what to do instead.
_REFUSED = {
    "--config-name": "there is one primary configuration; --config-dir DIR +experiment=MINE takes files of your own",
    "--config-path": "there is one primary configuration; --config-dir DIR +experiment=MINE takes files of your own",
    "--experimental-rerun": "python -m ncbench.sweep rerun RUN repeats a run",
}
_SHORT = {"--config-name": "-cn", "--config-path": "-cp"}
_COMPLETION = ("install", "uninstall", "query")


def parse(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The options of a command line, and those of Hydra as they were written; UsageError for a wrong one."""
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--names", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-r", "--run", action="store_true")  # what is done anyway
    parser.add_argument("-cd", "--config-dir")
    for name in _REFUSED:
        parser.add_argument(name, *([_SHORT[name]] if name in _SHORT else []), dest=name)
    for names, values in _OF_HYDRA:
        if values == 0:
            parser.add_argument(*names, dest="of_hydra", action="append_const", const=[names[0]])
        else:
            nargs = "?" if values == "?" else None
            parser.add_argument(*names, dest=names[0], nargs=nargs, const="all" if nargs else None)
    options = parser.parse_intermixed_args(arguments)
    for name, instead in _REFUSED.items():
        if getattr(options, name) is not None:
            raise UsageError(f"{name} {getattr(options, name)}: {instead}")
    for_hydra = [word for words in options.of_hydra or [] for word in words]
    for names, values in _OF_HYDRA:
        value = None if values == 0 else getattr(options, names[0])
        if value is not None:
            _check_choice(names[0], value)
            for_hydra += [names[0], value]
    _check(options, for_hydra)
    return options, for_hydra


def _check_choice(name: str, value: str) -> None:
    choices = _CHOICES.get(name, (value,))
    if value not in choices:
        raise UsageError(f"{name} {value}: must be one of {', '.join(choices)}")


def _check(options: Any, for_hydra: Sequence[str]) -> None:
    """UsageError for an option that needs another one."""
    if options.names and not options.list:
        raise UsageError("--names: is for --list")
    if options.multirun and options.run:
        raise UsageError("--multirun: is not for --run, which is one job")
    for name in ("--package", "--resolve"):
        if name in for_hydra and "--cfg" not in for_hydra:
            raise UsageError(f"{name}: is for --cfg")
    if "--shell-completion" in for_hydra:
        words = [word.partition("=")[0] for word in options.overrides]
        if len(words) != 1 or words[0] not in _COMPLETION:
            raise UsageError("--shell-completion: takes install=SHELL, uninstall=SHELL or query=SHELL alone")
