"""Writes the page of two runs side by side: what differs, the curves of both, the last values."""

from pathlib import Path

from ncbench.records.cache import one_report
from ncbench.records.runs import common_root
from ncbench.records.schema import FIGURE_FOLDER
from ncbench.records.whole_files import make_folder, write_text
from ncbench.report.comparison import RunComparison, compare_runs, two_runs
from ncbench.report.figures.comparison import comparison
from ncbench.report.pages.catalogue import CatalogueFigure, draw_one
from ncbench.report.pages.headline import Table
from ncbench.report.pages.templating import environment

__all__ = ["COMPARISON", "write_comparison"]

COMPARISON = "comparison.html"
CURVES = CatalogueFigure(
    "comparison",
    "Loss and collapse of both",
    comparison,
    "The training loss of both runs and the within-class variability of their layers, on the same axes; solid the "
    "first, dashed the second.",
)


def write_comparison(dirs: list[Path], out: Path | None = None) -> tuple[Path, RunComparison]:
    """Writes comparison.html and figures/comparison.png, .svg, .pdf into `out`; returns the page and what it says.

    `out` is by default the closest common folder of the two. Raises BadRecordsError as `compare_runs`, before anything
    is written.
    """
    dirs = two_runs(dirs)
    return one_report(_written)(dirs, out or common_root(dirs))


def _written(dirs: list[Path], out: Path) -> tuple[Path, RunComparison]:
    found = compare_runs(*dirs)
    make_folder(out / FIGURE_FOLDER)
    first, second = found.names
    said = "; ".join([found.configured, found.made_by, f"the weights: {found.weights}"])
    page = environment().get_template("comparison.html.jinja")
    text = page.render(
        title=f"{first} and {second}",
        sentence=f"Two runs side by side: {said}.",
        configuration=Table(["key", first, second], [list(row) for row in found.configuration or []]),
        made=Table(["", first, second], [list(row) for row in found.made]),
        drawn=draw_one(CURVES, dirs, out / FIGURE_FOLDER),
        measured=found.measured,
        values=Table(["layer", "stage", "split", "measure", first, second, "difference"], found.rows()),
    )
    write_text(out / COMPARISON, text)
    return out / COMPARISON, found
