"""A composed configuration as plain, resolved values, and these as validated dataclasses: each once in a process."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ncbench.claims.paper_claims import with_standards
from ncbench.claims.papers import carry_paper, check_reproduces, paper_of
from ncbench.config.identity import differences
from ncbench.config.root import Config
from ncbench.config.validate import validate
from ncbench.records.run_hash import run_id

__all__ = ["naming_folders", "plain_values", "register_resolvers", "validated", "with_paper"]

_identified: list[tuple[Any, str]] = []  # the configuration whose folder is being named, and its run's id


def register_resolvers() -> None:
    """`${run_id:}`: the hash that names a run's folder, in hydra.run.dir and hydra.sweep.subdir."""
    OmegaConf.register_new_resolver("run_id", _resolve_run_id, replace=True)


@contextmanager
def naming_folders(composed: Any, config: Config) -> Iterator[None]:
    """Inside, `${run_id:}` of `composed` is known to be that of `config`, and not worked out anew."""
    _identified.append((composed, run_id(differences(config))))
    try:
        yield
    finally:
        _identified.pop()


def _resolve_run_id(*, _root_: Any) -> str:
    if _identified and _identified[-1][0] is _root_:
        return _identified[-1][1]
    return run_id(differences(validated(plain_values(_root_))))


def plain_values(composed: Any) -> dict[str, Any]:
    """A composed configuration as plain, resolved values, without Hydra's own part; see `with_paper`."""
    plain: dict[str, Any] = {}
    for key in composed:
        if key != "hydra":
            value = composed[key]
            plain[str(key)] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return with_paper(plain, composed.hydra) if "hydra" in composed else plain


def with_paper(values: dict[str, Any], hydra: Any) -> dict[str, Any]:
    """The values with what they refer to written out: a paper of another folder, and the standards of its claims."""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    reproduces = carry_paper(values.get("reproduces"), folders)
    check_reproduces(reproduces)  # a paper that is not known is said so, before its claims are looked for
    paper = paper_of(reproduces)
    claims = with_standards(values.get("claims"), paper.claims if paper else {}, paper.key if paper else "")
    return {**values, "reproduces": reproduces, "claims": claims}


def validated(values: dict[str, Any]) -> Config:
    """The dataclasses of plain values; every configuration of a process is validated once."""
    return _validate_once(_Values(json.dumps(values, default=str), values))


@dataclass(frozen=True)
class _Values:
    text: str
    values: Mapping[str, Any] = field(compare=False)


@lru_cache(maxsize=1024)
def _validate_once(of: _Values) -> Config:
    return validate(of.values)
