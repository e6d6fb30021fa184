"""The index of results: every figure of the papers with what the records say of the paper's claims.

Read from the `claims.json`, `robustness.json` and `run.json` files below a directory: run folders, or the records kept
in docs/results. What the papers claim comes from their tables (conf/paper); a figure's cell counts these claims alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ncbench.claims.papers import Paper, package_papers
from ncbench.records.runs import Dir, as_paths
from ncbench.records.whole_files import write_text
from ncbench.report.pages.badges import NOT_YET, Badge, badge
from ncbench.report.pages.entries import RecordedExperiment, read_entries
from ncbench.report.pages.templating import environment
from ncbench.report.verdicts.coverage import ClaimOfPaper, Coverage, claims_of_paper, cover
from ncbench.report.verdicts.settle import VERDICTS, WITHOUT_VERDICT, Finding

__all__ = ["read_tables", "rewrite_block", "write_index", "write_record_page"]

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class FigureRow:
    """A figure of a paper: what the paper claims of it, and the experiments that have a record."""

    number: str
    shows: str
    claims: list[ClaimOfPaper]
    entries: list[RecordedExperiment]

    @property
    def coverage(self) -> Coverage:
        """How many of its claims are covered and decided."""
        return cover(self.claims)

    @property
    def badge(self) -> Badge:
        """The gravest verdict on its claims, `not yet` where none is covered."""
        return badge(self.coverage.shown or NOT_YET)


@dataclass(frozen=True)
class PaperTable:
    """A paper, its figures and all its claims."""

    paper: Paper
    rows: list[FigureRow]
    claims: list[ClaimOfPaper]

    @property
    def coverage(self) -> Coverage:
        """How many of the paper's claims are covered and decided."""
        return cover(self.claims)


def read_tables(dir: Dir, out: Path) -> tuple[list[PaperTable], list[RecordedExperiment]]:
    """The papers with what the records in `dir` say, and the experiments of no paper; links are relative to `out`.

    Raises ValueError where a directory holds no claims.json, or one that is not readable as claims.
    """
    entries = sorted(
        (entry for path in as_paths(dir) for entry in read_entries(path, out)), key=lambda entry: entry.name
    )
    return [_paper_table(paper, entries) for paper in _papers(entries)], [entry for entry in entries if not entry.paper]


def write_index(dir: Dir, out: Path) -> Path:
    """Writes index.html, README.md (the same in Markdown) and paper_claims.md into `out`; returns the page's path.

    Raises as `read_tables`.
    """
    tables, others = read_tables(dir, out)
    legend = [badge(verdict) for verdict in [*VERDICTS, *WITHOUT_VERDICT.values(), NOT_YET]]
    shown: dict[str, Any] = {"papers": tables, "others": others, "legend": legend, "verdicts": VERDICTS}
    out.mkdir(parents=True, exist_ok=True)
    for target in ("index.html", "README.md", "paper_claims.md"):
        template = {"README.md": "index.md.jinja"}.get(target, f"{target}.jinja")
        write_text(out / target, environment().get_template(template).render(shown))
    return out / "index.html"


def rewrite_block(page: Path, template: str, tables: list[PaperTable]) -> None:
    """Puts the rendered template between `<!-- NAME: begin -->` and `<!-- NAME: end -->` of a Markdown page.

    So that a page which tells of verdicts tells what the index does. Raises ValueError where the markers are missing.
    """
    text, name = page.read_text(encoding="utf-8"), template.partition(".")[0]
    begin, end = (f"<!-- {name}: {word} -->\n" for word in ("begin", "end"))
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page}: the markers {begin.strip()} and {end.strip()} are needed")
    rendered = environment().get_template(template).render(papers=tables, verdicts=VERDICTS)
    write_text(page, f"{before}{begin}{rendered.strip()}\n{end}{after}")


def write_record_page(folder: Path) -> Path:
    """Writes README.md into the folder of a light record: claims, verdicts, figure, command, cost, machine."""
    (entry,) = read_entries(folder, folder)
    text = environment().get_template("record.md.jinja").render(entry=entry)
    write_text(folder / "README.md", text)
    return folder / "README.md"


def _papers(entries: list[RecordedExperiment]) -> list[Paper]:
    """This package's papers and those that runs carry, the oldest first.

    A figure or claim that only a run's copy of a paper knows is added to the paper; no other is changed by it.
    """
    papers = dict(package_papers())
    for paper in (entry.paper for entry in entries if entry.paper is not None):
        known = papers.setdefault(paper.key, paper)
        added = {"figures": _added(known.figures, paper.figures), "claims": _added(known.claims, paper.claims)}
        papers[paper.key] = known.model_copy(update=added)
    return sorted(papers.values(), key=lambda paper: (paper.arxiv is None, paper.arxiv, paper.key))


def _added(known: Mapping[str, Entry], more: Mapping[str, Entry]) -> dict[str, Entry]:
    return {**known, **{name: entry for name, entry in more.items() if name not in known}}


def _paper_table(paper: Paper, entries: list[RecordedExperiment]) -> PaperTable:
    members = [entry for entry in entries if entry.paper is not None and entry.paper.key == paper.key]
    found: dict[str, list[Finding]] = {}
    for entry in members:
        for name, findings in entry.found.items():
            found.setdefault(name, []).extend(findings)
    claims = claims_of_paper(paper, found)
    rows = [
        FigureRow(
            number,
            shows,
            [claim for claim in claims if number in claim.claim.figures],
            [entry for entry in members if number in entry.figures],
        )
        for number, shows in paper.figures.items()
    ]
    return PaperTable(paper, rows, claims)
