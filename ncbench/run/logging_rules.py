"""What has to be there before a logger can be used, and what must never be written into a run folder."""

import netrc
import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ncbench.config.measuring import Logger

__all__ = ["check_logger", "check_no_secrets", "wandb_mode"]

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW(OR)?D|CREDENTIAL", re.IGNORECASE)  # in the name of a variable
_CLOUD = ("api.wandb.ai", "api.forge.coreweave.com")  # W&B's own server; `wandb login` of 0.31 notes the second name
_MODES = {"": "online", "online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}
_SHORTEST = 8  # characters: a shorter value, such as 1 or true, says nothing


def check_logger(logger: Logger) -> None:
    """ValueError of one line where a package or a key is missing: asking for it in the middle of a sweep would hang it.

    TensorBoard needs its package, W&B online needs a key, and WANDB_MODE may say that it is not to be online.
    """
    if logger.kind == "tensorboard" and find_spec("tensorboard") is None:
        raise ValueError("logger=tensorboard: no module tensorboard; pip install tensorboard, or use logger=csv")
    if not logger.kind.startswith("wandb") or wandb_mode(logger) != "online" or os.environ.get("WANDB_API_KEY"):
        return
    host = os.environ.get("WANDB_BASE_URL", _CLOUD[0]).split("//")[-1].split("/")[0]
    try:
        path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
        hosts = netrc.netrc(path).hosts
        known = any(name in hosts for name in (_CLOUD if host in _CLOUD else [host]))
    except (OSError, RuntimeError, netrc.NetrcParseError):  # RuntimeError: a user without a home
        known = False
    if not known:
        raise ValueError("logger=wandb: no W&B key; set WANDB_API_KEY, run `wandb login`, or use logger=wandb_offline")


def wandb_mode(logger: Logger) -> str:
    """`online`, `offline` or `disabled`: what a logger of W&B does with WANDB_MODE as it stands in the environment.

    The environment may keep a run back, never send what `logger=wandb_offline` keeps here. ValueError of one line
    where WANDB_MODE is none of W&B's.
    """
    told = os.environ.get("WANDB_MODE", "")
    if told == "disabled":
        return told
    if told not in _MODES:
        raise ValueError(f"WANDB_MODE={told}: must be online, offline or disabled")
    return "offline" if logger.kind == "wandb_offline" else _MODES[told]


def check_no_secrets(values: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """ValueError of one line where a value of a configuration holds what an environment variable keeps secret.

    A configuration is written into the run folder and sent to W&B. A variable keeps a secret if KEY, TOKEN, SECRET,
    PASSWORD or CREDENTIAL is part of its name and its value has at least 8 characters. The line does not show it.
    """
    secrets = {name: x for name, x in environment.items() if _SECRET.search(name) and len(x) >= _SHORTEST}
    for key, value in _texts(values):
        for name, secret in secrets.items():
            if secret in value:
                rule = "would be written into the run folder; a configuration holds no secrets"
                raise ValueError(f"{key}: holds the value of the environment variable {name}, which {rule}")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts in nested values, each with its dotted key; a key is a text, too."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            inner = f"{key}.{name}" if key else str(name)
            yield key or "the configuration", str(name)
            yield from _texts(part, inner)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part, key)
    elif isinstance(value, str):
        yield key, value
