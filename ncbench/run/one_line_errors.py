"""What goes wrong while objects are made from the user's values, as one line that names the configuration key."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import InstantiationException

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


@contextmanager
def one_line_errors(config: Config, *groups: str) -> Iterator[None]:
    """A ValueError of one line for whatever a library raises about its arguments.

    Where the message begins with an argument (`depth=0 must be ...`), the key of that argument is put there
    (`model.depth=0 must be ...`): it is looked for in `groups` first, then in the other groups of the configuration.
    """
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        if missing := missing_module(error):
            target = re.search(r"target '([^']+)'", str(error))
            line = ValueError(f"_target_={target[1]}: {missing}" if target else missing)
            raise ValueError(_with_key(line, config, groups)) from error
        raise ValueError(
            _with_key(cause if isinstance(cause, ValueError | OSError) else error, config, groups)
        ) from error
    except (TypeError, FileNotFoundError, ValueError) as error:
        raise ValueError(_with_key(error, config, groups)) from error


def _with_key(error: BaseException, config: Config, groups: tuple[str, ...]) -> str:
    text = " ".join(str(error).split()).partition(", set env var HYDRA_FULL_ERROR")[0]
    argument = re.match(r"([a-z_]+)(?=(\[\d+\])?[=:]| must )", text)
    if argument is None:
        return text
    name = argument[1]
    for group in (*groups, *(name for name in VARIANTS if name not in groups)):
        if name in keys_of(type(getattr(config, group))):
            return f"{group}.{text}"
    return text.replace(name, _OTHER_NAMES.get(name, name), 1)
