"""Verdicts as a reader meets them: marks, badges and the rows of the tables on the page and in the index."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ncbench.claims.claim import SOURCES
from ncbench.claims.papers import figure_numbers, paper_of
from ncbench.report.verdicts.settle import (
    ELSEWHERE,
    FAILS,
    HOLDS,
    NOT_OURS,
    NOT_THEIRS,
    REPRODUCED,
    UNDECIDED,
    WITHOUT_VERDICT,
)

if TYPE_CHECKING:
    from ncbench.report.verdicts.judge import Judgement

CHANGED = "changed"  # a run with other settings than its experiment: its claims are not the experiment's
NOT_YET = "not yet"  # nothing of the figure has a record

# Text first: the mark and its colour (Okabe and Ito's) only repeat it.
MARKS = {
    REPRODUCED: "✓",
    ELSEWHERE: "◐",
    NOT_OURS: "✗",
    NOT_THEIRS: "✗",
    UNDECIDED: "○",
    HOLDS: "✓",
    FAILS: "✗",
    **dict.fromkeys(WITHOUT_VERDICT.values(), "="),
}
HEADINGS = {
    "paper": "What the paper says",
    "derived": "What follows from its theorems (derived here)",
    "ours": "Checks of this project",
    "self_test": "Self-tests: they follow from algebra or from a construction, and make no verdict",
}
Row = TypeVar("Row")


@dataclass(frozen=True)
class Badge:
    """A verdict with its mark; `css` names its colour."""

    text: str
    mark: str
    css: str


def badge(verdict: str) -> Badge:
    """The badge of a verdict or outcome, of `changed`, or of `not yet` for a figure without a record.

    >>> badge("not reproduced at the paper's settings")
    Badge(text="not reproduced at the paper's settings", mark='✗', css='not-reproduced-at-the-papers-settings')
    """
    css = verdict.replace(" ", "-").replace("'", "")
    return Badge(verdict, MARKS.get(verdict, "≈" if verdict == CHANGED else "·"), css)


def tally(verdicts: Iterable[str]) -> str:
    """How many claims have which verdict or outcome.

    >>> tally(["holds", "reproduced", "reproduced", "undecided"])
    '2 reproduced, 1 undecided, 1 holds'
    >>> tally(["holds", "holds", "fails"])
    '2 hold, 1 fails'
    """
    counts = Counter(verdicts)
    plural = {"holds": "hold", "fails": "fail"}
    named = {verdict: plural.get(verdict, verdict) if count > 1 else verdict for verdict, count in counts.items()}
    return ", ".join(f"{counts[verdict]} {named[verdict]}" for verdict in MARKS if counts[verdict]) or "no claims"


def figure_of(reproduces: Mapping[str, Any] | None) -> str:
    """The figure an experiment belongs to, in words.

    >>> figure_of({"paper": "sukenik24", "figure": "2 top", "forms": ["quick"], "variation": "n = 5"})
    'arXiv 2405.14468, Figure 2 top (n = 5)'
    """
    paper = paper_of(reproduces)
    if not reproduces or paper is None:
        return ""
    variation = f" ({reproduces['variation']})" if reproduces.get("variation") else ""
    numbers = figure_numbers(reproduces.get("figure"))
    listed = " and ".join([", ".join(numbers[:-1]), numbers[-1]]) if len(numbers) > 1 else "".join(numbers)
    return f"{paper.label}, Figure{'s' * (len(numbers) > 1)} {listed}{variation}"


@dataclass(frozen=True)
class ClaimRow:
    """A claim in the table of a page."""

    statement: str
    measured: str
    sample_size: int
    check: str
    evidence: list["Fact"]
    badge: Badge
    why: str
    outcome: str
    expect: str | None
    agrees: bool


@dataclass(frozen=True)
class ExperimentClaims:
    """The claims of one experiment in a page."""

    experiment: str
    figure: str
    overrides: list[str]
    groups: list[tuple[str, list[ClaimRow]]]


def by_source(rows: Iterable[Row], source: Callable[[Row], str]) -> list[tuple[str, list[Row]]]:
    """The claims under headings that say whose they are; a heading without claims is left out.

    >>> by_source(["ours", "paper", "ours"], str)
    [('What the paper says', ['paper']), ('Checks of this project', ['ours', 'ours'])]
    """
    listed = list(rows)
    groups = [(HEADINGS[name], [row for row in listed if source(row) == name]) for name in SOURCES]
    return [(heading, members) for heading, members in groups if members]


def claims_of(judgement: "Judgement") -> ExperimentClaims:
    """A judgement as rows."""
    sources = [verdict.claim.source for verdict in judgement.verdicts]
    rows = [
        ClaimRow(
            statement=verdict.claim.statement,
            measured=verdict.measured,
            sample_size=verdict.sample_size,
            check=verdict.claim.check,
            evidence=evidence_rows(verdict.evidence),
            badge=badge(verdict.verdict),
            why=verdict.why,
            outcome=verdict.outcome,
            expect=verdict.claim.expect,
            agrees=verdict.agrees,
        )
        for verdict in judgement.verdicts
    ]
    named = by_source(zip(sources, rows, strict=True), lambda pair: pair[0])
    groups = [(heading, [row for _, row in pairs]) for heading, pairs in named]
    return ExperimentClaims(judgement.experiment, figure_of(judgement.reproduces), judgement.overrides, groups)


@dataclass(frozen=True)
class Fact:
    """A line of a claim's evidence: a text, or a table where it is a list of records."""

    name: str
    text: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    caption: str = ""


def evidence_rows(evidence: Mapping[str, Any]) -> list[Fact]:
    """Evidence in the order it was given, empty entries left out."""
    entries = []
    for name, value in evidence.items():
        label = name.replace("_", " ")
        if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            header = list(dict.fromkeys(key for entry in value for key in entry))
            rows = [[plain_text(entry.get(key)) for key in header] for entry in value]
            entries.append(Fact(label, "", [key.replace("_", " ") for key in header], rows))
        elif value not in (None, [], {}):
            entries.append(Fact(label, plain_text(value)))
    return entries


def plain_text(value: Any) -> str:
    """A value of JSON as a reader writes it; NaN and null are empty.

    >>> plain_text({"python": "3.11", "threads": [1, 0.25]})
    'python 3.11, threads [1, 0.25]'
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain_text(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(plain_text, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
