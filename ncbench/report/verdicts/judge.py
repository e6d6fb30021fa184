"""Judges the claims of experiments on recorded data alone.

The outcome of a claim is `holds`, `fails`, or `undecided` where the records cannot decide. For a claim of a paper the
verdict says what follows for the paper from this experiment alone (`settle`); the index, which knows other experiments
and varied settings, may say more. For other claims the verdict is the outcome. A run folder may come from anywhere:
what its claims can name is a type of `ncbench.claims.types`, and no code.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ncbench.claims.claim import Claim, OnSelection
from ncbench.claims.papers import Paper, departures, paper_of
from ncbench.claims.parse import near, parse_claims
from ncbench.records.layers import natural_key
from ncbench.records.proven_files import proven_yaml
from ncbench.records.runs import Dir, load_run_info, named_runs
from ncbench.records.schema import CONFIG, OVERRIDES
from ncbench.records.small_files import BadRecordsError
from ncbench.records.whole_files import write_text
from ncbench.report.verdicts import SCHEMA_VERSION, boundary, checks, levels, trends
from ncbench.report.verdicts.bounds import asked
from ncbench.report.verdicts.decide import Decision, checks_of, too_few
from ncbench.report.verdicts.selection import NotEnoughDataError, Sample
from ncbench.report.verdicts.settle import FAILS, HOLDS, UNDECIDED, Finding, Settled, settle, together

__all__ = ["CHECKS", "Judgement", "Verdict", "judge", "write_claims"]

CHECKS = checks_of(checks, trends, boundary, levels)
# Overrides that change neither what is computed nor what is compared with the paper. With another number of threads
# sums are rounded in another order: another run to the bit, and no other experiment.
_NO_CHANGE = (
    *("experiment", "hydra", "logger", "dataset.root", "dataset.download", "dataset.num_workers"),
    *("trainer.progress", "trainer.checkpoint_seconds", "trainer.keep_checkpoints", "trainer.threads"),
    "trainer.cuda_graph",
)


@dataclass(frozen=True)
class Verdict:
    """What the records say about a claim: in one line for a reader, and in numbers. `written`: its keys in yaml.

    `why` says where a verdict on a claim of a paper comes from; it is empty for other claims.
    """

    name: str
    claim: Claim
    written: Mapping[str, Any]
    outcome: str
    verdict: str
    why: str
    measured: str
    sample_size: int
    evidence: dict[str, Any]

    @property
    def agrees(self) -> bool:
        """Whether it is the outcome that the experiment's file expects, if it expects one."""
        return self.claim.expect in (None, self.outcome)


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
        config, claims = _configured(runs[latest])
        sample = Sample([runs[run] for run in members]) if claims else None
        reproduces = config.get("reproduces")
        judgements.append(
            Judgement(
                experiment,
                reproduces,
                sorted({str(infos[run]["config_hash"]) for run in members if infos[run].get("config_hash")}),
                sorted({change for run in members for change in _overrides(runs[run], config.get("grid") or {})}),
                _in_all_places(
                    [
                        _judged(name, claim, config["claims"][name], sample, experiment, reproduces)
                        for name, claim in claims.items()
                        if sample is not None
                    ],
                    experiment,
                    reproduces,
                ),
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
                    "name": verdict.name,
                    **verdict.written,
                    "outcome": verdict.outcome,
                    "verdict": verdict.verdict,
                    "why": verdict.why,
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
    content = {"schema_version": SCHEMA_VERSION, "experiments": experiments}
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    write_text(path, text + "\n")


def _judged(
    name: str, claim: Claim, written: Mapping[str, Any], sample: Sample, experiment: str, reproduces: Any
) -> Verdict:
    decision = _checked(claim, sample)
    outcome = {True: HOLDS, False: FAILS, None: UNDECIDED}[decision.holds]
    measured, evidence = decision.measured, dict(decision.evidence)
    if outcome == UNDECIDED:
        evidence["reason"] = decision.reason
        measured = f"{measured}; {decision.reason}" if measured else decision.reason
    measured = f"asked {asked(claim)}: {measured}"
    settled = _settled(claim, outcome, decision.reason, experiment, reproduces)
    numbers = {key: number for key, number in evidence.items() if number is not None}
    return Verdict(
        name, claim, written, outcome, settled.verdict, settled.why, measured, decision.size, _plain(numbers)
    )


def _settled(claim: Claim, outcome: str, reason: str, experiment: str, reproduces: Any) -> Settled:
    """What the outcome says of the paper, from this experiment alone; of a claim of another source the outcome."""
    if claim.paper_claim is None:
        return Settled(outcome, "")
    paper = paper_of(reproduces)
    assert paper is not None  # checked when the claims were read
    finding = Finding(experiment, outcome, departures(reproduces), reason=reason)
    # What would decide a claim changes with the records of other runs; only the index says it.
    return settle(paper.claims[claim.paper_claim].model_copy(update={"decided_by": None}), [finding])


def _in_all_places(verdicts: list[Verdict], experiment: str, reproduces: Any) -> list[Verdict]:
    """The same with one verdict for a sentence that is tested in several places: it has to hold in all of them."""
    for place, verdict in enumerate(verdicts):
        sentence = verdict.claim.paper_claim
        outcomes = {other.name: other.outcome for other in verdicts if other.claim.paper_claim == sentence}
        joint = together(outcomes.values())
        if sentence is not None and joint != verdict.outcome:
            reason = f"undecided in {', '.join(name for name in outcomes if outcomes[name] == UNDECIDED)}"
            settled = _settled(verdict.claim, joint, reason, experiment, reproduces)
            verdicts[place] = replace(verdict, verdict=settled.verdict, why=settled.why)
    return verdicts


def _checked(claim: Claim, sample: Sample) -> Decision:
    try:
        decision = too_few(claim, CHECKS[type(claim)](claim, sample))
        pairs = sample.pairs(claim.selection) if isinstance(claim, OnSelection) else []
        return replace(decision, evidence={**decision.evidence, "pairs": pairs}) if pairs else decision
    except NotEnoughDataError as reason:
        return Decision(None, "", 0, reason=str(reason))


def _configured(run: Path) -> tuple[dict[str, Any], dict[str, Claim]]:
    config, path = proven_yaml(run, CONFIG), run / CONFIG
    if not path.is_file():
        return {}, {}
    if not isinstance(config, dict):
        raise BadRecordsError(f"{path}: has to hold a mapping")
    try:
        paper, claims = paper_of(config.get("reproduces")), parse_claims(config.get("claims") or {})
        departures(config.get("reproduces"))
        for name, claim in claims.items():
            _check_paper_claim(name, claim, paper)
        return config, claims
    except ValueError as error:
        raise BadRecordsError(f"{path}: {error}") from None


def _check_paper_claim(name: str, claim: Claim, paper: Paper | None) -> None:
    table = {} if paper is None else paper.claims
    if claim.paper_claim is not None and claim.paper_claim not in table:
        of = "reproduces names no paper" if paper is None else f"{paper.key} has no such claim"
        hint = f" {near(claim.paper_claim, table)}" if table else ""
        raise ValueError(f"claims.{name}.paper_claim={claim.paper_claim}: {of}{hint}")


def _overrides(run: Path, grid: Mapping[str, Any]) -> list[str]:
    """What the command line changed; a point of the experiment's own grid is no change."""
    listed = proven_yaml(run, OVERRIDES) or []
    if not isinstance(listed, list):
        raise BadRecordsError(f"{run / OVERRIDES}: has to hold a list")
    swept = [key for key, values in grid.items() if values is not None]
    return [change for change in map(str, listed) if not _among(change.lstrip("+~").partition("=")[0], swept)]


def _among(key: str, swept: Sequence[str]) -> bool:
    return key in swept or any(key == word or key.startswith((f"{word}.", f"{word}/")) for word in _NO_CHANGE)


def _plain(value: Any) -> Any:
    """JSON's own types."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int) else str(value)
