"""Judges the claims of experiments on recorded data alone.

A verdict is `reproduced` where the claim holds on all replicas, `conditional` where that is not shown but it holds on
those that meet its `provided`, `not reproduced` where it fails, `not enough data` where the records cannot decide. A
run folder may come from anywhere: what its claims can name is an entry of CHECKS, and no code.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ncbench.claims.types import Claim, parse_claims
from ncbench.records.runs import BadRecordsError, Dir, load_run_info, named_runs, natural_key, read_yaml
from ncbench.report.verdicts import boundary as boundaries
from ncbench.report.verdicts import checks, trends
from ncbench.report.verdicts.decide import Decision, too_few
from ncbench.report.verdicts.describe import describe_condition
from ncbench.report.verdicts.selection import NotEnoughDataError, Sample

__all__ = ["CHECKS", "Judgement", "Verdict", "judge", "write_claims"]

CHECKS: dict[str, Callable[[Claim, Sample], Decision]] = {
    "share_below": checks.share,
    "share_above": checks.share,
    "share_between": checks.share,
    "value": checks.value,
    "monotone": trends.monotone,
    "slope": trends.slope,
    "boundary": boundaries.boundary,
    "ordering": checks.ordering,
    "count": checks.count,
    "equal_ranks": checks.equal_ranks,
}
# Overrides that change neither what is computed nor what is compared with the paper.
_OWN = ("experiment", "hydra", "logger", "trainer.progress", "dataset.root", "dataset.download")


@dataclass(frozen=True)
class Verdict:
    """What the records say about a claim: in one line for a reader, and in numbers."""

    claim: Claim
    verdict: str
    measured: str
    sample_size: int
    evidence: dict[str, Any]

    @property
    def agrees(self) -> bool:
        """Whether it is the verdict that the experiment's file expects."""
        return self.verdict == self.claim.expect


@dataclass(frozen=True)
class Judgement:
    """The verdicts on one experiment: all runs of that name, with their hashes and what was changed for them."""

    experiment: str
    reproduces: Any
    hashes: list[str]
    overrides: list[str]
    verdicts: list[Verdict]


def judge(dir: Dir) -> list[Judgement]:
    """One judgement per experiment in `dir`: runs of one `name` are judged together.

    The claims are those in `config.yaml` of the run started last. Raises BadRecordsError, naming the file, for claims
    that no experiment could have.
    """
    runs, infos = named_runs(dir), load_run_info(dir)
    groups: dict[str, list[str]] = {}
    for run, info in infos.items():
        groups.setdefault(str(info.get("name") or run), []).append(run)
    judgements = []
    for experiment in sorted(groups, key=natural_key):
        members = groups[experiment]
        latest = max(members, key=lambda run: str(infos[run].get("started") or ""))
        config, claims = _configured(runs[latest] / "config.yaml")
        sample = Sample([runs[run] for run in members]) if claims else None
        judgements.append(
            Judgement(
                experiment,
                config.get("reproduces"),
                sorted({str(infos[run]["config_hash"]) for run in members if infos[run].get("config_hash")}),
                sorted({one for run in members for one in _overrides(runs[run], config.get("grid") or {})}),
                [_judged(claim, sample) for claim in claims if sample is not None],
            )
        )
    return judgements


def write_claims(judgements: list[Judgement], path: Path) -> None:
    """Writes verdicts as JSON, the same bytes for the same records; a number that is not finite becomes its name."""
    experiments = [
        {
            "experiment": judgement.experiment,
            "reproduces": judgement.reproduces,
            "hashes": judgement.hashes,
            "overrides": judgement.overrides,
            "claims": [
                {
                    **verdict.claim.given,
                    "verdict": verdict.verdict,
                    "agrees": verdict.agrees,
                    "measured": verdict.measured,
                    "sample_size": verdict.sample_size,
                    "evidence": verdict.evidence,
                }
                for verdict in judgement.verdicts
            ],
        }
        for judgement in judgements
    ]
    text = json.dumps(_plain({"schema_version": 1, "experiments": experiments}), indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _judged(claim: Claim, sample: Sample) -> Verdict:
    found = _checked(claim, sample)
    part: Decision | None = None
    if claim.provided is not None and found.holds is not True and found.size:
        try:
            part = _on_condition(claim, sample)
        except NotEnoughDataError as reason:  # it fails, but whether under the condition too is not known
            found = replace(found, holds=None, reason=f"provided: {reason}")
    verdict = {True: "reproduced", False: "not reproduced", None: "not enough data"}[found.holds]
    measured, evidence = found.measured, dict(found.evidence)
    if part is not None and claim.provided is not None:
        evidence["provided"] = {"sample_size": part.size, "measured": part.measured, **part.evidence}
        measured += f"; provided {describe_condition(claim.provided)}: {part.measured}"
        if part.holds:
            verdict = "conditional"
    if verdict == "not enough data":
        evidence["reason"] = found.reason
        measured = f"{measured}: {found.reason}" if measured else found.reason
    numbers = {key: number for key, number in evidence.items() if number is not None}
    return Verdict(claim, verdict, measured, found.size, _plain(numbers))


def _checked(claim: Claim, sample: Sample) -> Decision:
    try:
        found = too_few(claim, CHECKS[claim.check](claim, sample))
        pairs = sample.pairs(claim.selection)
        return replace(found, evidence={**found.evidence, "pairs": pairs}) if pairs else found
    except NotEnoughDataError as reason:
        return Decision(None, "", 0, reason=str(reason))


def _on_condition(claim: Claim, sample: Sample) -> Decision:
    """The finding on the replicas that meet `provided`."""
    assert claim.provided is not None
    part = sample.meeting(claim.provided)
    if part.only is None or not len(part.only):
        return Decision(None, "no replica meets it", 0)
    found = _checked(claim, part)
    return found if found.measured else Decision(None, found.reason, 0)


def _configured(path: Path) -> tuple[dict[str, Any], tuple[Claim, ...]]:
    if not path.is_file():
        return {}, ()
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise BadRecordsError(f"{path}: has to hold a mapping")
    try:
        return config, parse_claims(config.get("claims") or [])
    except ValueError as error:
        raise BadRecordsError(f"{path}: {error}") from None


def _overrides(run: Path, grid: Mapping[str, Any]) -> list[str]:
    """What the command line changed; a point of the experiment's own grid is no change."""
    path = run / ".hydra" / "overrides.yaml"
    listed = read_yaml(path) if path.is_file() else []
    if not isinstance(listed, list):
        raise BadRecordsError(f"{path}: has to hold a list")
    return [one for one in map(str, listed) if not _among(one.lstrip("+~").partition("=")[0], grid)]


def _among(key: str, grid: Mapping[str, Any]) -> bool:
    return key in grid or any(key == own or key.startswith((f"{own}.", f"{own}/")) for own in _OWN)


def _plain(value: Any) -> Any:
    """JSON's own types."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int) else str(value)
