"""The index of results: every figure of the papers with the verdicts of the experiments that reproduce it.

Read from the `claims.json` and `run.json` files below a directory: run folders, or the records kept in docs/results.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ncbench.claims.papers import Paper, figure_numbers, package_papers, paper_of
from ncbench.records.runs import BadRecordsError, Dir, as_paths, find_runs, read_json
from ncbench.records.schema import CLAIMS, REPORT, RUN_INFO
from ncbench.report.pages.badges import MARKS, Badge, badge, by_source, figure_of, tally
from ncbench.report.pages.templating import environment
from ncbench.report.verdicts import SCHEMA_VERSION
from ncbench.report.verdicts.overall import CHANGED, NOT_YET, overall

__all__ = ["write_index", "write_record_page"]


@dataclass(frozen=True)
class RecordedExperiment:
    """An experiment with a record: where it lies, what it reproduces, its claims and its cost."""

    name: str
    link: str
    reproduces: dict[str, Any]
    paper: Paper | None
    figures: list[str]
    forms: str
    variation: str
    claims: list[dict[str, Any]]
    overrides: str
    command: str
    runs: str
    hashes: str
    wall: str
    machine: str

    @property
    def figure(self) -> str:
        """The figures of the paper in words."""
        return figure_of(self.reproduces)

    @property
    def verdict(self) -> Badge:
        """The least favourable of its verdicts that were decided, or `changed` for a run with other settings."""
        return badge(CHANGED if self.overrides else overall(self._verdicts()))

    @property
    def tally(self) -> str:
        """How many claims have which verdict, or what was changed."""
        return f"run with {self.overrides}" if self.overrides else tally(self._verdicts())

    @property
    def groups(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Its claims under headings that say whose they are."""
        return by_source(self.claims, lambda claim: str(claim["source"]))

    @property
    def deviating(self) -> int:
        """How many verdicts differ from what the experiment expects."""
        return 0 if self.overrides else sum(not claim["agrees"] for claim in self.claims)

    def _verdicts(self) -> list[str]:
        return [claim["verdict"] for claim in self.claims]


@dataclass(frozen=True)
class FigureRow:
    """A figure of a paper and the experiments that have a record."""

    number: str
    shows: str
    entries: list[RecordedExperiment]

    @property
    def badges(self) -> list[Badge]:
        """One badge per experiment as its file has it, or `not yet`."""
        return [entry.verdict for entry in self.entries if not entry.overrides] or [badge(NOT_YET)]


@dataclass(frozen=True)
class PaperTable:
    """A paper and all its figures."""

    paper: Paper
    rows: list[FigureRow]


def write_index(dir: Dir, out: Path) -> Path:
    """Writes index.html and README.md (the same table in Markdown) into `out`; returns the page's path.

    Raises ValueError where a directory holds no claims.json, or one that is not readable as claims.
    """
    entries = sorted((entry for path in as_paths(dir) for entry in _entries(path, out)), key=lambda entry: entry.name)
    tables = [_paper_table(paper, entries) for paper in _papers(entries)]
    others = [entry for entry in entries if not entry.paper]
    shown: dict[str, Any] = {
        "papers": tables,
        "others": others,
        "legend": [badge(v) for v in [*MARKS, CHANGED, NOT_YET]],
    }
    out.mkdir(parents=True, exist_ok=True)
    for template, target in (("index.html.jinja", "index.html"), ("index.md.jinja", "README.md")):
        (out / target).write_text(environment().get_template(template).render(shown), encoding="utf-8")
    return out / "index.html"


def write_record_page(folder: Path) -> Path:
    """Writes README.md into the folder of a light record: claims, verdicts, figure, command, cost, machine."""
    (entry,) = _entries(folder, folder)
    text = environment().get_template("record.md.jinja").render(entry=entry)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return folder / "README.md"


def _papers(entries: list[RecordedExperiment]) -> list[Paper]:
    """This package's papers and those that runs carry, the oldest first.

    A figure that only a run's copy of a paper knows is added to the paper.
    """
    papers = dict(package_papers())
    for paper in (entry.paper for entry in entries if entry.paper is not None):
        known = papers.setdefault(paper.key, paper)
        papers[paper.key] = known.model_copy(update={"figures": {**known.figures, **paper.figures}})
    return sorted(papers.values(), key=lambda paper: (paper.arxiv is None, paper.arxiv, paper.key))


def _paper_table(paper: Paper, entries: list[RecordedExperiment]) -> PaperTable:
    members = [entry for entry in entries if entry.paper is not None and entry.paper.key == paper.key]
    rows = [
        FigureRow(number, shows, [entry for entry in members if number in entry.figures])
        for number, shows in paper.figures.items()
    ]
    return PaperTable(paper, rows)


def _entries(dir: Path, out: Path) -> Iterator[RecordedExperiment]:
    if not dir.is_dir():
        raise FileNotFoundError(f"dir={str(dir)!r}: no such directory")
    files = [p for p in dir.rglob(CLAIMS) if not any(s.startswith(".") for s in p.relative_to(dir).parts)]
    if not files:
        raise BadRecordsError(f"dir={str(dir)!r} holds no {CLAIMS}; make the reports of its runs first")
    for path in sorted(files):
        content = read_json(path)
        experiments = content.get("experiments") if isinstance(content, dict) else None
        if not isinstance(experiments, list):
            raise BadRecordsError(f"{path} has to hold the claims of experiments")
        if content.get("schema_version") != SCHEMA_VERSION:
            raise BadRecordsError(f"{path} was written by another version of this package; make the report again")
        infos = [read_json(run / RUN_INFO) for run in find_runs(path.parent)]
        for experiment in experiments:
            try:
                paper = paper_of(experiment.get("reproduces"))
            except ValueError as error:
                raise BadRecordsError(f"{path}: {error}") from None
            members = [info for info in infos if info.get("name") == experiment["experiment"]]
            yield _entry(experiment, paper, path.parent, out, members)


def _entry(
    experiment: dict[str, Any], paper: Paper | None, folder: Path, out: Path, infos: list[dict[str, Any]]
) -> RecordedExperiment:
    named = experiment.get("reproduces")
    reproduces = named if isinstance(named, dict) else {}
    page = folder / REPORT
    target = page if page.is_file() else folder
    statuses = [str(info.get("status")) for info in infos]
    unfinished = [status for status in statuses if status != "done"]
    walls = [info.get("wall_seconds") or 0.0 for info in infos]
    hashes = [str(digest)[:10] for digest in experiment.get("hashes") or []]
    return RecordedExperiment(
        name=str(experiment["experiment"]),
        link=f"./{quote(Path(os.path.relpath(target, out)).as_posix())}",  # no name can pose as another scheme
        reproduces=reproduces,
        paper=paper,
        figures=figure_numbers(reproduces.get("figure")),
        forms=" and ".join(reproduces.get("forms") or []),
        variation=str(reproduces.get("variation") or ""),
        claims=list(experiment["claims"]),
        overrides=" ".join(map(str, experiment.get("overrides") or [])),
        command=str(infos[0].get("command") or "") if infos else "",
        runs=f"{len(infos)}" + (f" ({', '.join(unfinished)})" if unfinished else ""),
        hashes=", ".join(hashes[:2]) + (f" and {len(hashes) - 2} more" if len(hashes) > 2 else ""),
        wall=f"{sum(walls):.0f} s",
        machine=_machine(infos),
    )


def _machine(infos: list[dict[str, Any]]) -> str:
    """What the runs were computed on, each machine once: `1 of 2 cores, AMD EPYC`, or the accelerator's name."""
    devices = [info.get("device") for info in infos]
    names = []
    for device in devices:
        known = device if isinstance(device, dict) else {}
        cores = f"{known['threads']} of {known['cores']} cores, " if {"threads", "cores"} <= set(known) else ""
        cores = cores if known.get("accelerator", "cpu") == "cpu" else ""
        names.append(f"{cores}{known.get('name', '')}".strip(", "))
    return "; ".join(dict.fromkeys(name for name in names if name))
