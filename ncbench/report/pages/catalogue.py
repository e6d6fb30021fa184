"""The figures of a page: drawn, written as files, and as SVG inside the page."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ncbench.records.load import load_final
from ncbench.records.runs import Dir
from ncbench.records.schema import FIGURE_FOLDER
from ncbench.report import figure
from ncbench.report.figures.style import KINDS, Plot, inline_svg, save, to_svg


@dataclass(frozen=True)
class Entry:
    """A figure of the page: file name, title, the function that draws it, what to see in it.

    With `measure` it is drawn where that measure is recorded.
    """

    name: str
    title: str
    draw: Callable[[Dir], Plot]
    says: str
    measure: str | None = None


OF_ENSEMBLES = "grad_max"  # recorded of stacks of fully connected networks
FIGURES = (
    Entry(
        "summary",
        "Sweep",
        figure.summary,
        "Final loss, rank of the intermediate layers and within-class variability against the swept values; "
        "markers are the losses of the theory's solutions for the same configuration.",
    ),
    Entry(
        "transition",
        "Transition to rank K",
        figure.phase_diagram,
        "Shard of the weights' energy beyond rank K, largest of the layers, over weight decay and noise. Below the "
        "boundary the weights have rank K; the lines are the boundaries of a deep linear network.",
    ),
    Entry(
        "predicted",
        "Predicted and recorded",
        figure.predicted,
        "What a theory predicts for norms, singular values and distances, and what training reached.",
    ),
    Entry(
        "ratio",
        "Loss over DNC loss",
        figure.loss_ratio,
        "Below 1 the SRG solution has a lower loss than every deep-neural-collapse solution; dots are what training "
        "found.",
    ),
    Entry(
        "dnc_share",
        "How often training finds a DNC solution",
        figure.dnc_share,
        "Shard of the replicas whose final loss is that of deep neural collapse, and of those that end below it.",
    ),
    Entry(
        "heatmap",
        "Rank over two swept values",
        figure.heatmap,
        "Numerical rank of the class means in the intermediate layers, median over replicas.",
    ),
    Entry(
        "trend",
        "Rank against the size of the network",
        figure.size_scaling,
        "Stable and numerical rank of the inner weights and within-class variability against width or depth; only "
        "networks whose gradient is below 1e-3 count.",
        OF_ENSEMBLES,
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
        "shadows",
        "Range over initialisations",
        figure.seed_range,
        "What training makes of many initial values of the same network: where the shadow is narrow, all end alike.",
        OF_ENSEMBLES,
    ),
    Entry(
        "spectra",
        "Singular values at the end",
        figure.spectra,
        "Neural collapse without biases makes all K singular values of the class means equal; the low-rank "
        "bias leaves few of them in the intermediate layers.",
    ),
    Entry(
        "tails",
        "Tails of the weights' spectra",
        figure.tails,
        "What the best approximation of rank k leaves out of each weight matrix, at the start and at the end: a drop "
        "at k = K is rank collapse.",
        OF_ENSEMBLES,
    ),
    Entry(
        "bounds",
        "Distance to rank K and its bound",
        figure.bounds,
        "The distance of every weight matrix to rank K never exceeds what the within-class variability of an earlier "
        "layer allows; the table says by which factor it stays below.",
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
    Entry(
        "blocks",
        "Gram matrices of the samples",
        figure.blocks,
        "Inner products of all samples, sorted by class, at the start and at the end: after collapse every pair of "
        "classes is a block of one value.",
    ),
    Entry(
        "means",
        "Class means",
        figure.means,
        "Every column is a class, every row a neuron that answers to some class. In the SRG solution a neuron of the "
        "intermediate layers answers to the r - 1 classes that share a vertex; in the DNC solution to one.",
    ),
)


# Drawn only where there is something to compare or to follow: their absence needs no sentence in the page.
OPTIONAL = (
    *(figure.summary, figure.loss_ratio, figure.dnc_share, figure.heatmap, figure.means),
    *(
        figure.phase_diagram,
        figure.predicted,
        figure.size_scaling,
        figure.tails,
        figure.bounds,
        figure.blocks,
        figure.seed_range,
    ),
)
GRAM_FRAMES = Entry(
    "gram_frames",
    "Gram matrices over time",
    figure.gram,
    "The same cosines at every step at which they were recorded, of the same replica.",
)


@dataclass(frozen=True)
class Drawing:
    """A figure as it stands in the page: its SVG, or a sequence of (step, SVG), or why there is none."""

    entry: Entry
    svg: str = ""
    frames: tuple[tuple[int, str], ...] = ()
    missing: str = ""


def draw_all(dir: Dir, out: Path) -> list[Drawing]:
    """Draws every figure that has records and writes figures/NAME.png, .svg and .pdf into `out`."""
    folder = out / FIGURE_FOLDER
    folder.mkdir(exist_ok=True)
    drawings = []
    recorded = set(load_final(dir)["measure"])
    for entry in FIGURES:
        for kind in KINDS:  # an older report's picture must not stand beside the new page
            (folder / f"{entry.name}.{kind}").unlink(missing_ok=True)
        if entry.measure is not None and entry.measure not in recorded:
            continue
        try:
            svg = save(entry.draw(dir), folder, entry.name)
        except figure.NoRecordsError as reason:
            if entry.draw not in OPTIONAL:
                drawings.append(Drawing(entry, missing=str(reason)))
            continue
        drawings.append(Drawing(entry, svg=_inside(svg, entry.name, entry.title)))
    frames = _gram_frames(dir)
    return [*drawings, *([Drawing(GRAM_FRAMES, frames=frames)] if len(frames) > 1 else [])]


def _gram_frames(dir: Dir) -> tuple[tuple[int, str], ...]:
    try:
        frames = figure.gram_frames(dir)
    except figure.NoRecordsError:
        return ()
    return tuple(
        (step, _inside(to_svg(one, glyphs=False), f"gram-{step}", f"Gram matrices at step {step}"))
        for step, one in frames
    )


def _inside(svg: str, prefix: str, title: str) -> Markup:
    # The only markup that is not escaped; matplotlib escapes the text inside its SVG.
    return Markup(inline_svg(svg, prefix, title))
