"""What the records say of every claim of a paper, and of a figure: covered, decided, and how.

A figure's cell is made of the paper's own claims alone. What is undecided, or tested by no experiment, is counted in it
and never hidden behind what is decided.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ncbench.claims.paper_claims import PaperClaim
from ncbench.claims.papers import Paper
from ncbench.report.verdicts.settle import UNDECIDED, VERDICTS, WITHOUT_VERDICT, Finding, Settled, settle

__all__ = ["ClaimOfPaper", "Coverage", "claims_of_paper", "cover"]

# A cell shows the gravest of its verdicts.
GRAVEST_FIRST = (*reversed(VERDICTS[:-1]), UNDECIDED)


@dataclass(frozen=True)
class ClaimOfPaper:
    """A claim of the paper's table, what was found of it, and the verdict."""

    name: str
    claim: PaperClaim
    findings: tuple[Finding, ...]
    settled: Settled

    @property
    def covered(self) -> bool:
        """Whether the record of some experiment tests it."""
        return bool(self.findings)

    @property
    def decided(self) -> bool:
        """Whether the verdict is more than undecided."""
        return self.settled.verdict in VERDICTS and self.settled.verdict != UNDECIDED


@dataclass(frozen=True)
class Coverage:
    """How many claims there are, are covered by a record, are decided; verdict -> number; and the verdict shown.

    Claims that are so by proof or construction are counted apart: they get no verdict.
    """

    claims: int
    covered: int
    decided: int
    proved: int
    verdicts: dict[str, int]
    shown: str | None

    @property
    def text(self) -> str:
        """The share that is decided, as a cell shows it.

        >>> Coverage(4, 3, 2, 1, {}, None).text, Coverage(0, 0, 0, 0, {}, None).text
        ('2 of 4 claims decided, 3 covered; 1 by proof or construction', 'no claims listed')
        """
        parts = []
        if self.claims:
            parts = [f"{self.decided} of {self.claims} claim{'s' * (self.claims > 1)} decided, {self.covered} covered"]
        if self.proved:
            parts.append(f"{self.proved} by proof or construction")
        return "; ".join(parts) or "no claims listed"


def claims_of_paper(paper: Paper, found: Mapping[str, Sequence[Finding]]) -> list[ClaimOfPaper]:
    """Every claim of the paper's table with what was found of it, by the claim's name."""
    return [
        ClaimOfPaper(name, claim, tuple(found.get(name, ())), settle(claim, found.get(name, ())))
        for name, claim in paper.claims.items()
    ]


def cover(claims: Sequence[ClaimOfPaper]) -> Coverage:
    """The counts over some claims of a paper. Shown is the gravest verdict; None where nothing is covered."""
    proved = [claim.settled.verdict for claim in claims if claim.settled.verdict not in VERDICTS]
    covered = [claim for claim in claims if claim.covered]
    counts = Counter(claim.settled.verdict for claim in claims)
    shown = next((verdict for verdict in GRAVEST_FIRST if any(c.settled.verdict == verdict for c in covered)), None)
    if shown is None and proved and len(proved) == len(claims):
        shown = proved[0]
    ordered = {verdict: counts[verdict] for verdict in (*VERDICTS, *WITHOUT_VERDICT.values()) if counts[verdict]}
    decided = sum(claim.decided for claim in claims)
    return Coverage(len(claims) - len(proved), len(covered), decided, len(proved), ordered, shown)
