"""The W&B workspace that shows what a run's report page shows: a section for each figure, in the order of the page.

    python scripts/wandb_dashboard.py --snapshot                  writes docs/wandb_workspace.json
    python scripts/wandb_dashboard.py --publish ENTITY/PROJECT    makes the workspace on W&B; needs a login
    python scripts/wandb_dashboard.py --publish ENTITY/PROJECT --like DIR    for the layers of the run in DIR

A section has the report's figure, which a finished run hands on, and beside it the measures that this figure draws, as
lines during training. Lines are found by patterns of names, so that they are there for networks of any layers; pictures
of Gram matrices and histograms of singular values have to be named, by default for the layers of a head of depth 4.

The catalogue of figures (ncbench/report/pages/catalogue.py) and the table of measures (ncbench/report/measures.py) are
the only source; publishing needs the package wandb-workspaces.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncbench.config.measuring import Logger
from ncbench.records.layers import measured_by_default
from ncbench.records.load import load_spectra
from ncbench.report.measures import MEASURES
from ncbench.report.pages.catalogue import CATALOGUE
from ncbench.report.pages.catalogue import MEASURES as FURTHER
from ncbench.run.logging_rules import check_logger

SNAPSHOT = Path(__file__).resolve().parent.parent / "docs" / "wandb_workspace.json"
NAME = "Neural collapse"
STEP = "nc/step"
DEPTH = 4
OF_SEVERAL_RUNS = ("robustness",)  # figures that no run has for itself
Series = Sequence[tuple[str, str]]  # layer and stage
Panel = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the snapshot or publish the workspace; exit status 2 with one line where that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--snapshot", action="store_true", help=f"write {SNAPSHOT.name}")
    what.add_argument("--publish", metavar="ENTITY/PROJECT", help="make the workspace there")
    parser.add_argument("--like", metavar="DIR", type=Path, help="a run, whose layers are shown")
    arguments = parser.parse_args(argv)
    try:
        board = dashboard(default_series() if arguments.like is None else series_of(arguments.like))
        if arguments.snapshot:
            SNAPSHOT.write_text(json.dumps(board, indent=1) + "\n")
            print(SNAPSHOT)
        else:
            print(publish(board, arguments.publish))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def default_series() -> Series:
    """The layers and stages of a head of depth 4 that have singular values, as runs record them."""
    first, *head = measured_by_default(DEPTH)
    means = [(first, "post"), *((layer, stage) for layer in head for stage in ("pre", "post"))][:-1]
    return [*means, *((layer, "weight") for layer in head)]


def series_of(run: Path) -> Series:
    """The layers and stages of which a run has recorded singular values."""
    frame = load_spectra(run, steps="last", indices=[0])[["layer", "stage"]].drop_duplicates()
    return list(frame.itertuples(index=False, name=None))


def dashboard(series: Series) -> dict[str, Any]:
    """The workspace as plain values: its sections, each with its title and its panels."""
    shown: set[str] = set()
    sections = [section("Training", [bars("nc/loss"), lines("nc/learning_rate"), lines("nc/epoch"), {"kind": "runs"}])]
    for figure in CATALOGUE:
        if figure.name in OF_SEVERAL_RUNS:
            continue
        new = [name for name in figure.measures if name not in shown]
        shown |= set(new)
        panels = [images(figure.title, [f"figures/{figure.name}"]), *map(of_measure, new)]
        if figure.name == "spectra":
            panels += [histogram(f"spectra/{layer}/{stage}") for layer, stage in series]
        if figure.name == "gram":
            keys = [f"gram/{layer}/{stage}" for layer, stage in series if stage != "weight"]
            panels.append(images("Cosines of the class means during training", keys))
        sections.append(section(figure.title, panels, is_open=not figure.optional))
    further = [images(FURTHER.title, [f"figures/{FURTHER.name}"])]
    further += [of_measure(name) for name in MEASURES if name not in shown]
    sections.append(section(FURTHER.title, further, is_open=False))
    return {"name": NAME, "x": STEP, "sections": sections}


def section(title: str, panels: Sequence[Panel], is_open: bool = True) -> dict[str, Any]:
    """A section of the workspace."""
    return {"title": title, "open": is_open, "panels": list(panels)}


def of_measure(name: str) -> Panel:
    """The medians of a measure, of every layer, stage and split, with the theory lines of it."""
    lines_of = "[^/.]+" if name == "loss" else f"[^/]+/{re.escape(name)}"
    pattern = rf"^(nc/(.+/)?{re.escape(name)}(@.+)?|theory/{lines_of})$"
    return {"kind": "lines", "title": MEASURES[name].label, "pattern": pattern, "log": MEASURES[name].scale == "log"}


def lines(key: str) -> Panel:
    """One number over the steps."""
    return {"kind": "lines", "title": key, "pattern": f"^{re.escape(key)}$", "log": False}


def bars(key: str) -> Panel:
    """The last value of a number, a bar for each run."""
    return {"kind": "bars", "title": key, "key": key}


def histogram(key: str) -> Panel:
    """Singular values over the steps."""
    return {"kind": "histogram", "title": key, "key": key}


def images(title: str, keys: Sequence[str]) -> Panel:
    """Pictures, with a slider over the steps."""
    return {"kind": "images", "title": title, "keys": list(keys)}


def workspace(board: dict[str, Any], entity: str, project: str) -> Any:
    """The dashboard as a Workspace of wandb-workspaces; nothing is sent. ValueError without that package."""
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise ValueError("no module wandb_workspaces; pip install wandb-workspaces") from None

    def made(panel: Panel) -> Any:
        title = panel.get("title")
        match panel["kind"]:
            case "lines":
                return wr.LinePlot(title=title, x=board["x"], metric_regex=panel["pattern"], log_y=panel["log"])
            case "histogram":
                return wr.LinePlot(title=title, x=board["x"], y=[panel["key"]])
            case "images":
                return wr.MediaBrowser(title=title, media_keys=panel["keys"], mode="gallery", gallery_axis="step")
            case "bars":
                return wr.BarPlot(title=title, metrics=[panel["key"]])
        return wr.RunComparer(diff_only="split")

    sections = [
        ws.Section(name=each["title"], is_open=each["open"], panels=[made(panel) for panel in each["panels"]])
        for each in board["sections"]
    ]
    settings = ws.WorkspaceSettings(x_axis=board["x"], group_by_prefix="last")
    return ws.Workspace(entity=entity, project=project, name=board["name"], sections=sections, settings=settings)


def publish(board: dict[str, Any], target: str) -> str:
    """Make the workspace in ENTITY/PROJECT; returns its address. ValueError without a key or for another target."""
    entity, slash, project = target.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise ValueError(f"--publish {target}: must be ENTITY/PROJECT")
    check_logger(Logger(kind="wandb"))
    made = workspace(board, entity, project)
    made.save()
    return str(made.url)


if __name__ == "__main__":
    sys.exit(main())
