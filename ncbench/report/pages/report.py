"""Writes the report of a directory of runs: a self-contained page, its figures as files, and a table."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ncbench.records.cache import one_report
from ncbench.records.csv_text import csv_text
from ncbench.records.load import load_references, load_run_info
from ncbench.records.run_info import frozen
from ncbench.records.runs import Dir, common_root
from ncbench.records.schema import FINAL_TABLE, REPORT
from ncbench.records.settings import Setting, find_settings
from ncbench.records.whole_files import write_text
from ncbench.report.pages.badges import claims_of, plain_text
from ncbench.report.pages.catalogue import draw_all
from ncbench.report.pages.headline import Table, headline, layer_tables, measure_table, without_empty_columns
from ncbench.report.pages.latex import LATEX_TABLE, latex_table
from ncbench.report.pages.notes import notes
from ncbench.report.pages.opening import configuration, sentence
from ncbench.report.pages.templating import environment
from ncbench.report.settings import final_table

if TYPE_CHECKING:
    from ncbench.report.verdicts.judge import Judgement


@one_report
def write_report(dir: Dir, out: Path, judgements: "Sequence[Judgement]", refused: str = "") -> Path:
    """Writes report.html, table.csv, table.tex and figures/NAME.png, .svg, .pdf into `out`; returns the page's path.

    `judgements` are those of `judge(dir)`, or none for a page without claims; `refused` says why they could not be
    judged. Figures for which nothing is recorded yet are left out, with the reason in the page.
    """
    infos = load_run_info(dir)
    out.mkdir(parents=True, exist_ok=True)
    table, values = csv_text(final_table(dir)), headline(dir)
    latex = latex_table(values) + "\n" + latex_table(headline(dir, means=True))
    page = environment().get_template("page.html.jinja")
    text = page.render(
        title=_title(dir, infos),
        sentence=sentence(dir, values, judgements),
        configuration=configuration(dir),
        judgements=[claims_of(judgement) for judgement in judgements],
        refused=refused,
        headline=values,
        notes=notes(dir),
        layers=layer_tables(dir),
        figures=draw_all(dir, out),
        measures=measure_table(dir),
        references=_references(dir),
        statuses=_statuses(infos, find_settings(dir)),
        details=[(run, _details(info)) for run, info in infos.items()],
    )
    # Last, one after the other: a report that is killed while it draws leaves the older page with its tables.
    for name, content in ((FINAL_TABLE, table), (LATEX_TABLE, latex), (REPORT, text)):
        write_text(out / name, content)
    return out / REPORT


def _title(dir: Dir, infos: dict[str, dict[str, Any]]) -> str:
    names = sorted({str(info["name"]) for info in infos.values() if info.get("name")})
    name = names[0] if len(names) == 1 else common_root(dir).name
    return name if len(infos) == 1 else f"{name}: {len(infos)} runs"


def _references(dir: Dir) -> Table:
    """Theory lines with formula and arguments; lines that many runs share stand once."""
    frame = load_references(dir)
    frame = frame[frame["measure"] != "spectra"]  # many numbers: the figure of singular values draws them
    frame = frame.assign(
        arguments=[plain_text(arguments) for arguments in frame["arguments"]],
        replicas=["all" if who is None else ", ".join(map(str, who)) for who in frame["replicas"]],
    )
    several = frame["run"].nunique() > 1
    other = not frame["measure"].isin(["loss", "curve"]).all()
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in frame.to_dict("records"):
        value = f"{row['value']:.8g}" if pd.notna(row["value"]) else f"none: {row['why'] or 'not stated'}"
        of = [_measured(row)] if other else []
        key = (str(row["name"]).upper(), *of, value, plain_text(row["formula"]), row["arguments"], row["replicas"])
        rows.setdefault(key, []).append(str(row["run"]))
    header = ["line", *(["of"] if other else []), "value", "formula", "arguments", "replicas"]
    header += ["runs"] if several else []
    return Table(header, [[*key, *([", ".join(runs)] if several else [])] for key, runs in rows.items()])


def _measured(line: dict[Any, Any]) -> str:
    """What a theory line is compared with: `norm (head.2, head.3, weight)`."""
    places = [*(line["layers"] or []), *([line["stage"]] if line["stage"] else [])]
    return str(line["measure"]) + (f" ({', '.join(map(str, places))})" if places else "")


def _statuses(infos: dict[str, dict[str, Any]], settings: list[Setting]) -> Table:
    settings_of: dict[str, list[str]] = {}
    for setting in settings if len(settings) > 1 else []:
        for run in setting.runs:
            settings_of.setdefault(run, []).append(setting.label)
    header = [
        "run",
        "settings",
        "seed",
        "status",
        "replicas",
        "frozen",
        "steps",
        "wall time",
        "replica steps/s",
        "device",
        "error",
    ]
    rows = []
    for run, info in infos.items():
        wall, speed = info.get("wall_seconds"), info.get("replica_steps_per_second")
        cost = ["" if wall is None else f"{wall:.1f} s", "" if speed is None else f"{speed:.4g}"]
        kinds = {kind: set(frozen(info, kind)) for kind in ("converged", "diverged", "dead", "stalled")}
        stopped = ", ".join(f"{len(which)} {kind}" for kind, which in kinds.items() if which)
        left = (info.get("replicas") or 0) - len(set().union(*kinds.values()))
        if info.get("status") == "done" and (kinds["converged"] or kinds["stalled"]) and left:
            stopped += f"; {left} ran out of steps"
        status, replicas, steps, device, error = (
            plain_text(info.get(name)) for name in ("status", "replicas", "steps", "device", "error")
        )
        labels, seed = settings_of.get(run, []), plain_text(info.get("seed"))
        of = labels[0] if len(labels) == 1 else f"{len(labels)} settings" if labels else ""
        rows.append([run, of, seed, status, replicas, stopped, steps, *cost, device, error])
    return without_empty_columns(Table(header, rows))


def _details(info: dict[str, Any]) -> list[tuple[str, str]]:
    """What is needed to run it again: command, seed, versions."""
    command = info.get("command")
    shown = {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else command,
        **{name: info.get(name) for name in ("name", "seed", "config_hash", "git", "started", "finished", "versions")},
    }
    return [(name.replace("_", " "), plain_text(value)) for name, value in shown.items() if value not in (None, "", {})]
