"""What goes wrong while objects are made from the user's values, as one line that names the configuration key."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException, InstantiationException

from ncbench.config.root import VARIANTS, Config
from ncbench.config.variants import keys_of
from ncbench.run.current_folder import missing_module

__all__ = ["lacks_memory", "one_line_errors"]

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
    What Python says of a class or function that does not take its arguments becomes a sentence about its key.
    """
    try:
        yield
    except (HydraException, TypeError, OSError, ValueError, MemoryError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if lacking := lacks_memory(cause):
            line = f"{groups[0]}: {lacking}"
        elif isinstance(cause, TypeError):
            line = _of_arguments(cause, config, groups[0])
        elif isinstance(error, HydraException) and (
            missing_module(error) or not isinstance(cause, ValueError | OSError)
        ):
            line = _of_target(error, cause, config, groups[0])
        elif isinstance(cause, OSError) and cause.filename is not None:
            line = f"{groups[0]}: {cause.filename}: {cause.strerror}"
        elif isinstance(cause, ValueError | OSError):
            line = _with_key(cause, config, groups)
        else:
            raise
        raise ValueError(line) from error


def _of_target(error: Exception, cause: BaseException, config: Config, group: str) -> str:
    """About a `_target_` that Hydra cannot call."""
    text = " ".join(str(error).split())
    found = re.search(r"[Tt]arget '([^']+)'", text)
    target = found[1] if found else ""
    key = _key_of(lambda path: path == target, _all(config, group)) or f"{group}._target_"
    if missing := missing_module(error):
        return f"{key}={target}: {missing}"
    if "blocklisted" in text:
        return f"{key}={target}: must not be called from a configuration, as it can run any program"
    if "locating target" in text:
        return f"{key}={target}: there is no class or function of this name"
    said = str(cause) if cause is not error else text.partition(", set env var HYDRA_FULL_ERROR")[0]
    return f"{key}={target}: {' '.join(said.split())}"


def _of_arguments(error: BaseException, config: Config, group: str) -> str:
    """What Python says of the arguments of a call, as a sentence about the key of the class or function."""
    text = " ".join(str(error).split())
    called = re.match(r"(\w+)(?:\.__\w+__)?\(\) ", text)
    name = called[1] if called else ""
    key = _key_of(lambda path: path.rpartition(".")[2] == name, _all(config, group))
    holder = (key or group).removesuffix("._target_")
    who = name or "what is called there"
    if unexpected := re.search(r"unexpected keyword argument '([^']+)'", text):
        return f"{holder}.{unexpected[1]}: {who} takes no argument of that name"
    if missing := re.search(r"missing \d+ required .*?arguments?: (.+)", text):
        return f"{holder}: {who} needs a value for {missing[1].replace(chr(39), '')}"
    return f"{holder}: {who} cannot be made of the values that it is given ({text})"


def _all(config: Config, first: str) -> dict[str, Any]:
    """The groups of a configuration, this one first."""
    names = [name for name in (first, *VARIANTS) if name in VARIANTS]
    return {name: getattr(config, name).plain() for name in names}


def _key_of(is_meant: Callable[[str], bool], values: Any, key: str = "") -> str | None:
    """The key of the configuration that holds the `_target_` which is meant."""
    if not isinstance(values, Mapping):
        return None
    for name, value in values.items():
        deeper = f"{key}.{name}" if key else str(name)
        if name == "_target_" and isinstance(value, str) and is_meant(value):
            return deeper
        if found := _key_of(is_meant, value, deeper):
            return found
    return None


def lacks_memory(error: BaseException) -> str:
    """That there is not enough memory, with how much was asked for at once; "" for any other error.

    >>> lacks_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000 bytes."))
    'needs more memory than this machine has (80000 bytes at once)'
    """
    text = str(error) or "out of memory" * isinstance(error, MemoryError)
    if not isinstance(error, MemoryError | RuntimeError) or not _NO_MEMORY.search(text):
        return ""
    size = re.search(r"allocate ([\d.]+ ?\w+)", text)
    return "needs more memory than this machine has" + (f" ({size[1]} at once)" if size else "")


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
