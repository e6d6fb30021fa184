"""The look of all figures, and how they are written: print-ready, colour-blind safe, reproducible bytes."""

import functools
import io
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, SymmetricalLogLocator
from PIL import Image

from ncbench.records.settings import only_where
from ncbench.records.sources import as_dir
from ncbench.records.whole_files import write_bytes

# Okabe and Ito's palette, distinguishable under the common colour-vision deficiencies.
ORANGE, SKY, GREEN, BLUE = "#E69F00", "#56B4E9", "#009E73", "#0072B2"
VERMILLION, PURPLE = "#D55E00", "#CC79A7"
PALETTE = [BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY]
REFERENCE_STYLES = [(VERMILLION, "--"), (GREEN, "-."), (PURPLE, ":"), (ORANGE, (0, (5, 1, 1, 1, 1, 1)))]
MARKERS = ["o", "s", "^", "D", "v", "P"]
FLOOR = 1e-16  # below: rounding of float64, drawn at the floor so that exact zeros stay visible on log axes
MAX_PANELS = 6
KINDS = ("png", "svg", "pdf")
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "figure.facecolor": "white",
    "text.usetex": False,
    "svg.hashsalt": "ncbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType, embedded: journals refuse the Type 3 fonts of the default
}

T = TypeVar("T")
Values = npt.NDArray[np.float64]


class Plot(Figure):
    """A matplotlib Figure that a notebook shows without pyplot; `left_out` says what has no place in it."""

    left_out: str = ""

    def _repr_png_(self) -> bytes:
        return to_png(self)


def styled(draw: Callable[..., T]) -> Callable[..., T]:
    """Runs a drawing function under the style of this file, leaving the caller's own alone.

    What is drawn may be a directory of runs, a table or a callback (`ncbench.records.sources.as_dir`). Every function
    that draws takes `where` besides its own arguments, {"width": 64}: only the settings with these values are drawn.
    """

    @functools.wraps(draw)
    def inner(*args: Any, where: Mapping[str, Any] | None = None, **kwargs: Any) -> T:
        source, *others = args or (kwargs.pop("dir"),)
        with mpl.rc_context(_RC), only_where(where) if where else nullcontext(), as_dir(source) as drawn:
            return draw(drawn, *others, **kwargs)

    return inner


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Plot, Any]:
    """A figure with rows x columns axes (always a 2-d array), `width` x `height` inches each."""
    figure = Plot(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def small_panels(count: int, width: float, height: float) -> tuple[Plot, list[Axes]]:
    """A figure with `count` axes in rows of at most three; one alone is `width` x `height` inches, several smaller."""
    columns = 2 if count == 4 else min(count, 3)
    size = (width, height) if count == 1 else (0.78 * width, 0.85 * height)
    figure, axes = panels(-(-count // columns), columns, *size)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, list(axes.flat[:count])


@styled
def to_png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def to_light_png(figure: Figure, dpi: int) -> bytes:
    """The figure as PNG of at most 256 colours, a third of the size: for records, which stay in the repository."""
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(to_png(figure, dpi))).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@styled
def to_svg(figure: Figure, glyphs: bool = True) -> str:
    """The figure as SVG, without dates or program names in it.

    `glyphs` draws text as outlines, the same everywhere; without, it is text in the reader's font and the file
    half as long, for pages that hold many pictures.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path" if glyphs else "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


@styled
def to_pdf(figure: Figure) -> bytes:
    """The figure as PDF with embedded fonts, without dates or program names in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return buffer.getvalue()


def inline_svg(svg: str, prefix: str, alt: str) -> str:
    """An SVG document as an element of an HTML page: no prolog, no metadata, ids unique through `prefix`."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Writes `name`.png, `name`.svg and `name`.pdf into `folder`; returns the SVG."""
    svg = to_svg(figure)
    figure.set_layout_engine("none")  # found once, a third of the time of drawing, and the same in all three
    write_bytes(folder / f"{name}.pdf", to_pdf(figure))
    write_bytes(folder / f"{name}.png", to_png(figure))
    write_bytes(folder / f"{name}.svg", svg.encode("utf-8"))
    return svg


def colours(count: int) -> list[Any]:
    """`count` colours in an order that the eye reads as one (viridis without its palest end)."""
    return [mpl.colormaps["viridis"](x) for x in np.linspace(0.0, 0.9, count)]


def tints(names: Mapping[int, str]) -> dict[int, tuple[Any, str]]:
    """The colour and the name of each setting; one alone is blue and needs no name."""
    if len(names) == 1:
        return dict.fromkeys(names, (BLUE, ""))
    return {code: (tint, names[code]) for code, tint in zip(names, colours(len(names)), strict=True)}


def step_axis(axes: Axes) -> None:
    """Steps on a logarithmic axis that also holds step 0."""
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.4)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10.0, linthresh=1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x == 0 else _power(x)))
    axes.set_xlim(left=0.0)
    axes.set_xlabel("gradient step")


def _power(x: float) -> str:
    return f"$\\mathregular{{10^{{{round(np.log10(x))}}}}}$" if x >= 1000 else f"{x:g}"


def log_axis(axis: Any, low: float, high: float) -> None:
    """Logarithmic ticks, as plain numbers and denser where the axis spans less than two decades."""
    decades = np.log10(high / low)
    if decades < 2:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades > 0.7 else tuple(range(1, 10))))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    else:
        axis.set_major_locator(LogLocator(numticks=8))
    axis.set_minor_formatter(NullFormatter())


def clip(values: Iterable[float]) -> tuple[Values, bool]:
    """Values raised to the floor of the log axes (infinite ones become NaN), and whether any was below it."""
    array = np.asarray(values, dtype=float)
    array = np.where(np.isfinite(array), array, np.nan)
    low = array < FLOOR
    return np.where(low, FLOOR, array), bool(low.any())


def thin(steps: Values, *curves: Values, bins: int = 300) -> npt.NDArray[np.intp]:
    """Places to keep so that a drawing has few points and still shows every extreme.

    The step axis is cut into `bins` equal parts of its drawn (logarithmic) length; of each part the first and
    the last point and the lowest and highest of every curve are kept.
    """
    if len(steps) <= 4 * bins:
        return np.arange(len(steps))
    drawn = np.log1p(steps)
    parts = np.floor((drawn - drawn[0]) / max(drawn[-1] - drawn[0], 1e-300) * bins).astype(int)
    starts = np.flatnonzero(np.diff(parts, prepend=-1))
    keep = {0, len(steps) - 1}
    for start, end in zip(starts, [*starts[1:], len(steps)], strict=True):
        keep |= {int(start), int(end) - 1}
        for curve in curves:
            part = np.where(np.isnan(curve[start:end]), curve[start], curve[start:end])
            keep |= {int(start + np.argmin(part)), int(start + np.argmax(part))}
    return np.array(sorted(keep), dtype=np.intp)


def log_if_positive(ax: Axes) -> None:
    """A logarithmic y axis, where everything drawn is positive and not all the same."""
    low, high = ax.dataLim.intervaly
    if 0 < low < high:
        ax.set_yscale("log")
        log_axis(ax.yaxis, low, high)


def spread(values: list[Any], most: int = MAX_PANELS) -> list[Any]:
    """At most six (or `most`) of the values, evenly spread from the first to the last.

    >>> spread(list(range(11))), spread(list(range(11)), 3), spread([0])
    ([0, 2, 4, 6, 8, 10], [0, 5, 10], [0])
    """
    places = np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int)
    return [values[place] for place in places]
