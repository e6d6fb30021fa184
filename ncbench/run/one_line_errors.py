"""What goes wrong while objects are made from the user's values, as one line that names the configuration key."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException, InstantiationException

from ncbench.config.root import VARIANTS, Config
from ncbench.config.variants import keys_of
from ncbench.run.current_folder import missing_module

__all__ = ["one_line_errors"]

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
_NO_MEMORY = re.compile(r"allocate|out of memory|not enough memory", re.IGNORECASE)


@contextmanager
def one_line_errors(config: Config, *groups: str) -> Iterator[None]:
    """A ValueError of one line for whatever a library raises about its arguments.

    Where the message begins with an argument (`depth=0 must be ...`), the key of that argument is put there
    (`model.depth=0 must be ...`): it is looked for in `groups` first, then in the other groups of the configuration.
    What Python says of a class or function that does not take its arguments becomes a sentence about it.
    """
    try:
        yield
    except (HydraException, TypeError, FileNotFoundError, ValueError, MemoryError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(error, InstantiationException):
            line = _of_target(error, cause, config, groups)
        elif isinstance(cause, TypeError):
            line = f"{groups[0]}: {_of_arguments(cause)}"
        elif isinstance(cause, MemoryError | RuntimeError):
            line = _of_memory(cause, groups) if _NO_MEMORY.search(str(cause)) or not str(cause) else ""
        else:
            line = _with_key(cause, config, groups)
        if not line:
            raise
        raise ValueError(line) from error


def _of_target(error: Exception, cause: BaseException, config: Config, groups: tuple[str, ...]) -> str:
    """About a `_target_` that Hydra could not call."""
    text = " ".join(str(error).split())
    found = re.search(r"[Tt]arget '([^']+)'", text)
    key = _key_of(found[1], {group: getattr(config, group).plain() for group in groups}) if found else None
    where = f"{key or groups[0]}={found[1]}" if found else groups[0]
    if missing := missing_module(error):
        return f"{where}: {missing}"
    if isinstance(cause, ValueError | OSError):
        return _with_key(cause, config, groups)
    if isinstance(cause, MemoryError | RuntimeError) and _NO_MEMORY.search(str(cause)):
        return _of_memory(cause, groups)
    if isinstance(cause, TypeError):
        return f"{where}: {_of_arguments(cause)}"
    if "blocklisted" in text:
        return f"{where}: must not be called from a configuration, as it can run any program"
    if "locating target" in text:
        return f"{where}: there is no class or function of this name"
    said = str(cause) if cause is not error else text.partition(", set env var HYDRA_FULL_ERROR")[0]
    return f"{where}: {' '.join(said.split())}"


def _key_of(target: str, values: Any, key: str = "") -> str | None:
    """The key of the configuration that holds this `_target_`."""
    if not isinstance(values, Mapping):
        return None
    for name, value in values.items():
        deeper = f"{key}.{name}" if key else str(name)
        if name == "_target_" and value == target:
            return deeper
        if found := _key_of(target, value, deeper):
            return found
    return None


def _of_arguments(error: BaseException) -> str:
    """What Python says of the arguments of a call, as a sentence."""
    text = " ".join(str(error).split())
    if unexpected := re.search(r"unexpected keyword argument '([^']+)'", text):
        return f"takes no argument {unexpected[1]}"
    if missing := re.search(r"missing \d+ required .*?arguments?: (.+)", text):
        return f"needs a value for {missing[1].replace(chr(39), '')}"
    return f"cannot be made of the values that it is given ({text})"


def _of_memory(error: BaseException, groups: tuple[str, ...]) -> str:
    size = re.search(r"allocate ([\d.]+ ?\w+)", str(error))
    return f"{groups[0]}: needs more memory than this machine has" + (f" ({size[1]} at once)" if size else "")


def _with_key(error: BaseException, config: Config, groups: tuple[str, ...]) -> str:
    text = " ".join(str(error).split())
    argument = re.match(r"([a-z_]+)(?=(\[\d+\])?[=:]| must )", text)
    if argument is None:
        return text
    name = argument[1]
    for group in (*groups, *(name for name in VARIANTS if name not in groups)):
        if name in keys_of(type(getattr(config, group))):
            return f"{group}.{text}"
    return text.replace(name, _OTHER_NAMES.get(name, name), 1)
