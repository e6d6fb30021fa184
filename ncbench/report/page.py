"""Writes the report of a directory of runs: a self-contained page, its figures as files, and a table."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ncbench.report import figure
from ncbench.report.cells import final_table
from ncbench.report.headline import Table, headline, layer_tables
from ncbench.report.load import load_references, load_run_info
from ncbench.report.once import one_report
from ncbench.report.runs import Dir, common_root
from ncbench.report.style import KINDS, Plot, inline_svg, save


@dataclass(frozen=True)
class Entry:
    """A figure of the page: file name, title, the function that draws it, what to see in it."""

    name: str
    title: str
    draw: Callable[[Dir], Plot]
    says: str


FIGURES = (
    Entry(
        "summary",
        "Sweep",
        figure.summary,
        "Final loss, rank of the intermediate layers and within-class variability against the swept values; "
        "markers are the losses of the theory's solutions for the same configuration.",
    ),
    Entry(
        "loss",
        "Loss and theory lines",
        figure.loss,
        "The full objective during training; a replica that ends below the DNC line has found a solution "
        "with lower loss than any deep-neural-collapse solution of this problem.",
    ),
    Entry(
        "collapse",
        "Collapse per layer",
        figure.collapse,
        "Within-class variability relative to the spread of the class means (DNC1), and the total cluster "
        "variation relative to the total variance and raw: towards zero the samples of a class come to share "
        "one representation.",
    ),
    Entry(
        "spectra",
        "Singular values at the end",
        figure.spectra,
        "Neural collapse without biases makes all K singular values of the class means equal; the low-rank "
        "bias leaves few of them in the intermediate layers.",
    ),
    Entry(
        "rank",
        "Rank per layer",
        figure.rank,
        "Number of singular values above one hundredth of the largest, and the exponential of the spectrum's "
        "entropy: K for neural collapse, less in the intermediate layers of a low-rank solution.",
    ),
    Entry(
        "gram",
        "Gram matrices of the class means",
        figure.gram,
        "Cosines between the class means: the identity for an orthogonal frame (DNC2), the pattern of a "
        "strongly regular graph for the low-rank solution.",
    ),
)


@dataclass(frozen=True)
class Drawing:
    """A figure as it stands in the page: its SVG, or why there is none."""

    entry: Entry
    svg: Markup
    missing: str


@one_report
def write_report(dir: Dir, out: Path) -> Path:
    """Writes report.html, table.csv and figures/NAME.png, .svg and .pdf into `out`; returns the page's path.

    Figures for which nothing is recorded yet are left out, with the reason in the page.
    """
    infos = load_run_info(dir)
    out.mkdir(parents=True, exist_ok=True)
    final_table(dir).to_csv(out / "table.csv", index=False)
    page = _environment().get_template("template.html")
    text = page.render(
        title=_title(dir, infos),
        headline=headline(dir),
        layers=layer_tables(dir),
        drawings=_drawings(dir, out, len(infos)),
        references=_references(dir),
        statuses=_statuses(infos),
        details=[(run, _details(info)) for run, info in infos.items()],
    )
    (out / "report.html").write_text(text, encoding="utf-8")
    return out / "report.html"


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ncbench.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _title(dir: Dir, infos: dict[str, dict[str, Any]]) -> str:
    names = sorted({str(info["name"]) for info in infos.values() if info.get("name")})
    name = names[0] if len(names) == 1 else common_root(dir).name
    return name if len(infos) == 1 else f"{name}: {len(infos)} runs"


def _drawings(dir: Dir, out: Path, runs: int) -> list[Drawing]:
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    drawings = []
    for entry in FIGURES:
        for kind in KINDS:  # an older report's picture must not stand beside the new page
            (folder / f"{entry.name}.{kind}").unlink(missing_ok=True)
        try:
            svg = save(entry.draw(dir), folder, entry.name)
        except figure.NoRecordsError as reason:
            if entry.draw is not figure.summary:
                drawings.append(Drawing(entry, Markup(), str(reason)))
            continue
        # The only markup that is not escaped; matplotlib escapes the text inside its SVG.
        drawings.append(Drawing(entry, Markup(inline_svg(svg, entry.name, entry.title)), ""))
    return drawings


def _references(dir: Dir) -> Table:
    """Theory lines with formula and arguments; lines that many runs share stand once."""
    frame = load_references(dir)
    frame = frame[frame["measure"] != "spectra"]  # many numbers: the figure of singular values draws them
    frame = frame.assign(
        arguments=[_text(arguments) for arguments in frame["arguments"]],
        replicas=["all" if who is None else ", ".join(map(str, who)) for who in frame["replicas"]],
    )
    several = frame["run"].nunique() > 1
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in frame.to_dict("records"):
        value = f"{row['value']:.8g}" if pd.notna(row["value"]) else f"none: {row['why'] or 'not stated'}"
        key = (str(row["name"]).upper(), value, _text(row["formula"]), row["arguments"], row["replicas"])
        rows.setdefault(key, []).append(str(row["run"]))
    header = ["line", "value", "formula", "arguments", "replicas", *(["runs"] if several else [])]
    return Table(header, [[*key, *([", ".join(runs)] if several else [])] for key, runs in rows.items()])


def _statuses(infos: dict[str, dict[str, Any]]) -> Table:
    header = ["run", "status", "replicas", "steps", "wall time", "replica steps/s", "device", "error"]
    rows = []
    for run, info in infos.items():
        wall, speed = info.get("wall_seconds"), info.get("replica_steps_per_second")
        cost = ["" if wall is None else f"{wall:.1f} s", "" if speed is None else f"{speed:.4g}"]
        state = [_text(info.get(name)) for name in ("status", "replicas", "steps")]
        rows.append([run, *state, *cost, _text(info.get("device")), _text(info.get("error"))])
    return Table(header, rows)


def _details(info: dict[str, Any]) -> list[tuple[str, str]]:
    """What is needed to run it again: command, seed, versions."""
    command = info.get("command")
    shown = {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else command,
        **{name: info.get(name) for name in ("name", "seed", "config_hash", "git", "started", "finished", "versions")},
    }
    return [(name.replace("_", " "), _text(value)) for name, value in shown.items() if value not in (None, "", {})]


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    return f"[{', '.join(map(_text, value))}]" if isinstance(value, list) else str(value)
