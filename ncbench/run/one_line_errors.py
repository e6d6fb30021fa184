"""What goes wrong while objects are made from the user's values, as one line that names the configuration key."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf

from ncbench.config.models import Network
from ncbench.config.root import VARIANTS, Config
from ncbench.measure.failures import (
    is_own_bug,
    message_of,
    place_of,
    raised_by_us,
    unexpected_argument,
    why_it_fails,
)
from ncbench.run.current_folder import missing_module

__all__ = ["lacks_memory", "no_such_target", "one_line_errors"]

# Arguments of library functions whose key has another name, or lies deeper.
_OTHER_NAMES = {
    "num_classes": "dataset.classes",
    "weight_decays": "objective.weight_decay",
    "feature_decays": "objective.feature_decay",
    "rates": "replicate.lr",
    "noises": "replicate.noise",
    "hidden": "model.backbone.hidden",
    "channels": "model.backbone.channels",
}
_NO_MEMORY = re.compile(r"allocate memory|tried to allocate \d|out of memory|not enough memory", re.IGNORECASE)


@contextmanager
def one_line_errors(config: Config, *groups: str) -> Iterator[None]:
    """A ValueError of one line for whatever a library, or code of the user's own, raises about its arguments.

    Where the message begins with an argument (`depth=0 must be ...`), the key of that argument is put there
    (`model.depth=0 must be ...`): it is looked for in `groups` first, then in the other groups of the configuration.
    What Python says of a class or function that does not take its arguments becomes a sentence about its key, and
    what else the user's own code raises one that names its line. The first of `groups` may be a key deeper down.
    """
    try:
        yield
    except Exception as error:
        line = _line(error, config, groups)
        if line is None:
            raise
        raise ValueError(line) from error


def _line(error: Exception, config: Config, groups: tuple[str, ...]) -> str | None:
    """The line, or None where the program itself is at fault."""
    of_hydra, cause = isinstance(error, HydraException), _cause(error)
    if lacking := lacks_memory(cause):
        return f"{groups[0]}: {lacking}"
    called = "Error in call to target" in str(error)
    if of_hydra and (missing_module(error) or not called):
        return _of_target(error, config, groups[0])
    if isinstance(cause, OSError) and (line := _of_file(cause, config, groups[0])):
        return line
    if isinstance(cause, ValueError | OSError) and str(cause):
        return _with_key(cause, config, groups)
    # A value of the wrong type is a TypeError of ours, too.
    if is_own_bug(cause) and not isinstance(cause, TypeError):
        return None
    if of_hydra or isinstance(cause, TypeError) or place_of(cause) is not None:
        return _of_call(error, cause, config, groups[0])
    return None


def _cause(error: Exception) -> BaseException:
    """What was raised inside of Hydra's own exceptions."""
    found: BaseException = error
    while isinstance(found, InstantiationException) and found.__cause__ is not None:
        found = found.__cause__
    return found


def no_such_target(error: BaseException) -> str:
    """What is wrong with a `_target_` that is not found: its module, or there is nothing of this name in it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if place_of(error) is None and not isinstance(error, SyntaxError):
        return "there is no class or function of this name"
    return f"its module {why_it_fails(error)}"


def _of_target(error: Exception, config: Config, group: str) -> str:
    """About a `_target_` that Hydra cannot call."""
    text = " ".join(str(error).split())
    key, target = _holder(text, config, group)
    if named := re.search(r"[Tt]arget '([^']+)'", text):
        target = named[1]
    where = f"{key}._target_={target}"
    if missing := missing_module(error):
        return f"{where}: {missing}"
    if "blocklisted" in text:
        return f"{where}: must not be called from a configuration, as it can run any program"
    if "locating target" in text:
        return f"{where}: {no_such_target(error)}"
    if kind := re.search(r"Expected a callable target, .*of type '(\w+)'", text):
        return f"{where}: must be a class or function, and it is of the type {kind[1]}"
    return f"{where}: {text.partition(', set env var HYDRA_FULL_ERROR')[0]}"


def _of_file(cause: OSError, config: Config, group: str) -> str:
    """About a file or folder that cannot be used, with the key that names it; "" where neither is known."""
    file = "" if cause.filename is None else str(cause.filename)
    why = cause.strerror if file else " ".join(str(cause).split())
    key, value = _naming(file or str(why), _all(config, group.partition(".")[0]))
    if not key and not file:
        return ""
    return f"{f'{key}={value}' if key else group}: {f'{file}: ' if file and file != value else ''}{why}"


def _naming(text: str, values: Any, key: str = "") -> tuple[str, str]:
    """The key whose value is a path that `text` has, or a folder that it is in, and that value ("": no such key)."""
    if isinstance(values, str) and values and not key.endswith("_target_"):
        path = re.escape(values.rstrip("/") or values)
        return (key, values) if re.search(rf"(?<![\w./-]){path}(?![\w-])", text) else ("", "")
    inside: list[tuple[str, Any]] = []
    if isinstance(values, Mapping):
        inside = [(f"{key}.{name}" if key else str(name), value) for name, value in values.items()]
    elif isinstance(values, list):
        inside = [(f"{key}.{i}", value) for i, value in enumerate(values)]
    return next((found for name, value in inside if (found := _naming(text, value, name))[0]), ("", ""))


def _of_call(error: Exception, cause: BaseException, config: Config, group: str) -> str:
    """About a class or function that does not take its arguments, or fails with them."""
    key, target = _holder(" ".join(str(error).split()), config, group)
    if isinstance(cause, TypeError) and (called := re.match(r"(\w+)(?:\.__\w+__)?\(\) ", str(cause))):
        name = called[1]
        if found := _key_of(lambda path: path.rpartition(".")[2] == name, _all(config, group.partition(".")[0])):
            key, target = found, name
    who = target.rpartition(".")[2] or "what is called there"
    why = why_it_fails(cause)
    if argument := unexpected_argument(cause):
        line = f"{key}.{argument}: {who} takes no argument of that name"
    elif why.startswith("fails (") and isinstance(cause, TypeError):
        line = f"{key}: {who} cannot be made of the values that it is given {why.removeprefix('fails ')}"
    else:
        line = f"{key}: {who} {why}"
    if key == "dataset" and config.dataset.public_target is None and not why.startswith("fails"):
        given = [name for name in config.dataset.arguments() if name != "_target_"]
        line += f"; its arguments are every key of dataset ({', '.join(given) or 'none'}), and dataset=other begins"
        line += " with none; an experiment may set some, as digits_mlp does where no +experiment is named"
    if key == "model" and isinstance(config.model, Network) and _lacks_an_argument(cause, why, config):
        line += "; what it takes from the data is named in model.from_data, all else is given by +model.NAME=..."
    return line


def _lacks_an_argument(cause: BaseException, why: str, config: Config) -> bool:
    """Whether a network fails for want of an argument: one that it names, or a key of its **kwargs."""
    given = config.model.arguments()
    missing = cause.args[0] if isinstance(cause, KeyError) and cause.args else None
    return why.startswith("needs") or (isinstance(missing, str) and missing not in [*given, *given.values()])


def _holder(text: str, config: Config, group: str) -> tuple[str, str]:
    """The key whose `_target_` Hydra was about to call, from its message, and that `_target_` ('': not known)."""
    values = _all(config, group.partition(".")[0])
    deeper, named = re.search(r"full_key: (\S+)", text), re.search(r"[Tt]arget '([^']+)'", text)
    name = named[1].rpartition(".")[2] if named else ""
    if deeper:
        keys = [f"{first}.{deeper[1]}" for first in (group, *values)]
    else:
        meant = _key_of(lambda path: path.rpartition(".")[2] == name, values)
        keys = [*([meant] if meant else []), group]
    for key in keys:
        target = OmegaConf.select(OmegaConf.create(values), f"{key}._target_")
        if isinstance(target, str):
            return key, target
    return group, ""


def _all(config: Config, first: str) -> dict[str, Any]:
    """The groups of a configuration, this one first."""
    names = [name for name in dict.fromkeys((first, *VARIANTS)) if name in VARIANTS]
    return {name: getattr(config, name).plain() for name in names}


def _key_of(is_meant: Callable[[str], bool], values: Any, key: str = "") -> str | None:
    """The key of the configuration that holds the mapping with the `_target_` which is meant."""
    if not isinstance(values, Mapping):
        return None
    for name, value in values.items():
        if name == "_target_" and isinstance(value, str) and is_meant(value):
            return key
        if found := _key_of(is_meant, value, f"{key}.{name}" if key else str(name)):
            return found
    return None


def lacks_memory(error: BaseException) -> str:
    """That there is not enough memory, with how much was asked for at once; "" for any other error.

    >>> lacks_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000 bytes."))
    'needs more memory than this machine has (80000 bytes at once)'
    """
    text = str(error)
    of_torch = isinstance(error, RuntimeError) and _NO_MEMORY.search(text)
    if not of_torch and not isinstance(error, MemoryError):
        return ""
    size = re.search(r"allocate (\d[\d.]* ?\w+)", text)
    return "needs more memory than this machine has" + (f" ({size[1]} at once)" if size else "")


def _with_key(error: BaseException, config: Config, groups: tuple[str, ...]) -> str:
    text = message_of(error)
    argument = re.match(r"([a-z_]+)(?=(\[\d+\])?[=:]| must )", text)
    if argument is None:
        has_key = raised_by_us(error) or re.match(r"[\w.\[\]]+([=:]| must )", text)
        return text if has_key else f"{groups[0]}: {text}"
    name = argument[1]
    for group in (*groups, *(name for name in VARIANTS if name not in groups)):
        if name in _all(config, group).get(group, {}):
            return f"{group}.{text}"
    if name not in _OTHER_NAMES and not raised_by_us(error):
        return f"{groups[0]}: {text}"
    return text.replace(name, _OTHER_NAMES.get(name, name), 1)
