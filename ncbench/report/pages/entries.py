"""The experiments that have a record, as the index and the record's own page show them.

Read from `claims.json`, `robustness.json` and `run.json`: of run folders, or of the light records in docs/results.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ncbench.claims.papers import Paper, departures, figure_numbers, paper_of
from ncbench.records.run_info import read_run_info
from ncbench.records.runs import find_runs
from ncbench.records.schema import CLAIMS, REPORT
from ncbench.records.small_files import BadRecordsError, read_json
from ncbench.records.variations import Varied, read_varied
from ncbench.records.verified import said_of_verified
from ncbench.report.pages.badges import by_source, figure_of, tally
from ncbench.report.verdicts import SCHEMA_VERSION
from ncbench.report.verdicts.settle import Finding
from ncbench.report.verdicts.varied import found_in

__all__ = ["RecordedExperiment", "machine_of", "read_entries", "said_of_standstill"]


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
    varied: Varied | None
    standstill: str = ""
    verified: str = ""

    @property
    def figure(self) -> str:
        """The figures of the paper in words."""
        return figure_of(self.reproduces)

    @property
    def departs(self) -> tuple[str, ...]:
        """The settings that the paper gives and it does not follow."""
        return departures(self.reproduces)

    @property
    def tally(self) -> str:
        """How many claims have which verdict, or what was changed."""
        return f"run with {self.overrides}" if self.overrides else tally(self._verdicts())

    @property
    def found(self) -> dict[str, list[Finding]]:
        """Claim of the paper -> what this experiment says of it; nothing where its settings were changed."""
        return {} if self.overrides else found_in(self.name, self.claims, self.departs, self.varied, self.variation)

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


def read_entries(dir: Path, out: Path) -> Iterator[RecordedExperiment]:
    """The experiments of the claims.json files below `dir`; links are relative to `out`."""
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
        infos = [read_run_info(run) for run in find_runs(path.parent)]
        for experiment in experiments:
            try:
                paper = paper_of(experiment.get("reproduces"))
                departures(experiment.get("reproduces"))
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
        machine=machine_of(infos),
        varied=_varied(folder, experiment.get("hashes") or []),
        standstill=said_of_standstill(infos),
        verified=said_of_verified(folder, [str(info.get("config_hash")) for info in infos]),
    )


def said_of_standstill(infos: list[dict[str, Any]]) -> str:
    """How much changed between the last two measured steps, the most of all runs; nothing where no run says it."""
    found = [info["standstill"] for info in infos if isinstance(info.get("standstill"), dict)]
    losses = [x["loss"] for x in found if isinstance(x.get("loss"), float)]
    ranks = [x["effective_rank"] for x in found if isinstance(x.get("effective_rank"), float)]
    if not losses:
        return ""
    of_ranks = f", an effective rank of class means by at most {max(ranks):.2g}" if ranks else ""
    between = " and ".join(map(str, found[0]["steps"])) if len({str(x["steps"]) for x in found}) == 1 else ""
    steps = f", {between}," if between else ""
    return f"Between the last two measured steps{steps} the objective changed by at most {max(losses):.2%}{of_ranks}."


def _varied(folder: Path, hashes: list[str]) -> Varied | None:
    """The findings at varied settings beside a record, unless they are of another configuration of the experiment."""
    varied = read_varied(folder)
    return varied if varied and set(varied.experiment_hashes) & set(hashes) else None


def machine_of(infos: list[dict[str, Any]]) -> str:
    """What the runs were computed on, each machine once: `1 of 2 cores, AMD EPYC`, or the accelerator's name."""
    devices = [info.get("device") for info in infos]
    names = []
    for device in devices:
        known = device if isinstance(device, dict) else {}
        cores = f"{known['threads']} of {known['cores']} cores, " if {"threads", "cores"} <= set(known) else ""
        cores = cores if known.get("accelerator", "cpu") == "cpu" else ""
        names.append(f"{cores}{known.get('name', '')}".strip(", "))
    return "; ".join(dict.fromkeys(name for name in names if name))
