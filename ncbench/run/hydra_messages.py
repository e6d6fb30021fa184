"""What Hydra and OmegaConf say of a command line, as one line: the argument, its value, and the rule it breaks."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from hydra.errors import OverrideParseException

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.config.validate import unknown_key

__all__ = ["experiments", "of_no_value", "one_line", "refused_key"]

# What OmegaConf says of a value that does not fit, and what would.
_FITTING = (
    (r"Cannot merge DictConfig with ListConfig", "must be a mapping of keys"),
    (r"Cannot merge ListConfig with \w+|.*is not a ListConfig", "must be a list"),
    (r"Cannot assign \w+ to Dict\[.*\]", "must be a mapping of keys"),
    (r"[fF]ield '.*' is not Optional|Incompatible value 'None'", "must not be null"),
    (r"Cannot convert '\w+' to string", "must be a text"),
    (r".*could not be converted to Integer", "must be a whole number"),
    (r".*could not be converted to Float", "must be a number"),
    (r"Merge error: \w+ is not a subclass of", "must be a mapping of keys"),
    (r".*is not a valid bool", "must be true or false"),
)
_INSIDE = r"In '([^']+)': \w+ raised while composing config: (.*?)( value: .*)? full_key: ?(\S*) "
_DUPLICATE = r"(?:.*already at '([^']+)'|Multiple values for (\S+?)\. .*)"


def one_line(error: BaseException, config_dirs: Sequence[str]) -> str:
    """The message of a Hydra or OmegaConf error on one line, without its search path and advice for developers."""
    text = " ".join(str(error).split()).partition(" Config search path:")[0].partition(" Set the env")[0]
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override), text)
    if text.startswith("Error merging override") and error.__context__ is not None:
        why = str(error.__context__).strip().partition("\n")[0]
        rule = next((rule for pattern, rule in _FITTING if re.match(pattern, why)), why)
        return f"{text.removeprefix('Error merging override ')}: {rule}"
    if inside := re.match(_INSIDE, text):
        return _of_file(inside[1], inside[2], inside[4].removeprefix("object_type=dict"), config_dirs)
    if key := getattr(error, "full_key", None):
        why = text.partition(" full_key:")[0]
        return f"{key}: {re.sub(r'^.*while resolving interpolation: ', '', why).strip(chr(34))}"
    refused = refused_key(text)
    if refused == "experiment":
        return f"{text.rpartition('use +')[2]}: no experiment is chosen yet; use +{text.rpartition('use +')[2]}"
    if refused.startswith("hydra."):
        return f"{refused}: unknown key of Hydra or of the launcher; --hydra-help and docs/sweeps.md name them"
    if refused:
        return f"{refused}: {unknown_key(refused)}"
    if twice := re.match(_DUPLICATE, text):
        key = twice[1] or twice[2]
        return f"{key}: must be given once" if twice[2] else f"+{key}: is set already; use {key}="
    if deleted := re.match(r"Could not delete (?:from config\. )?'([^']+)'", text):
        return f"~{deleted[1]}: is not there to be taken away"
    return _unknown_choice(text, config_dirs)


def of_no_value(override: str) -> str:
    """About an axis of a sweep without values, such as a glob that matches nothing."""
    deeper = re.fullmatch(r"(\+?\w+)=glob\(([\w/]+)/([^/]+)\)", override)
    hint = f"; a glob looks into one folder, {deeper[1]}/{deeper[2]}=glob({deeper[3]})" if deeper else ""
    return f"{override}: makes no job, as it has no value{hint}"


def refused_key(text: str) -> str:
    """The key that Hydra does not find in the composed files, from its message; '' where it says something else."""
    refused = re.match(r"Could not override '([^']+)'", text)
    return refused[1] if refused else ""


def experiments(folder: Path = CONF_DIR / "experiment") -> dict[str, Path]:
    """Name (as after `+experiment=`) -> file of every experiment."""
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def _unreadable(override: str, text: str) -> str:
    """About an override that is not written in Hydra's grammar."""
    why = re.sub(r"^Error parsing override '.*?' ", "", text.partition(" See https://hydra.cc")[0])
    called = re.match(r"\w+ while evaluating '(.*?)': (.*)", why)
    if called and "Unknown function" in why:
        return f"{override}: {called[2].partition(' Available')[0]}; quote a value that has brackets"
    if called:
        return f"{override}: {called[1]} cannot be evaluated"
    if not override or "missing EQUAL" in why:
        return f"'{override}': must be key=value"
    place = re.search(r"at input '(.*)'|input '(.*?)' expecting", why)
    found = (place[1] or place[2] or "") if place else ""
    where = "" if not found or found == "<EOF>" else f" from {found!r} on"
    return f"{override}: cannot be read{where}; quote a value that has brackets, commas or quotes, as in key='\"a, b\"'"


def _of_file(name: str, why: str, key: str, config_dirs: Sequence[str]) -> str:
    """About a file whose values do not go together with the others, such as a list where there is a mapping."""
    rule = next((rule for pattern, rule in _FITTING if re.match(pattern, why)), why)
    if key.startswith("hydra.") and "not in" in why:
        rule = "unknown key of Hydra"
    paths = [folder / f"{name}.yaml" for folder in (*map(Path, config_dirs), CONF_DIR)]
    path = next((path for path in paths if path.is_file()), None)
    values = None if path is None or key else yaml.safe_load(path.read_text(encoding="utf-8"))
    if values is not None and not isinstance(values, Mapping):
        return f"{path}: must hold a mapping of keys"
    for name, value in (values or {}).items():
        wanted = list if name in ("references", "defaults") else Mapping
        if name not in ("name", "seed") and not isinstance(value, wanted | None):
            return f"{path}: {name}={value}: must be a {'list' if wanted is list else 'mapping of keys'}"
    return f"{path or name}: {f'{key}: ' if key else ''}{rule}"


def _unknown_choice(text: str, config_dirs: Sequence[str]) -> str:
    """About a file that a group does not have."""
    missing = re.search(r"Could not (?:find|load) '([^']+)/([^'/]*)'", text)
    experiment = re.search(r"Could not (?:find|load) 'experiment/([^']*)'", text)
    if experiment:
        folders = [CONF_DIR, *map(Path, config_dirs)]
        known = [name for folder in reversed(folders) for name in experiments(folder / "experiment")]
        names = [*known, *(name.rsplit("/", 1)[-1] for name in known)]
        near = difflib.get_close_matches(experiment[1], names, n=1)
        meant = next((name for name in known if near and name.endswith(near[0])), None)
        hint = f" (did you mean {meant}?)" if meant else ""
        return f"unknown experiment '{experiment[1]}'{hint}; --list names them, --config-dir adds your own"
    if missing:
        available = text.partition("Available options in ")[2].partition(": ")[2].split()
        return f"{missing[1]}={missing[2]}: must be one of {', '.join(available)}"
    return text
