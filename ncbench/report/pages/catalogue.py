"""The figures of a report page, in the order of the page: drawn, written as files, and as SVG inside the page."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from ncbench.records.errors import DamagedError
from ncbench.records.load import load_final, load_measures
from ncbench.records.runs import CrowdedError, Dir, NoRecordsError, UndefinedError, load_run_info
from ncbench.records.schema import FIGURE_FOLDER
from ncbench.records.whole_files import make_folder
from ncbench.report.figures.blocks import blocks
from ncbench.report.figures.bounds import bounds
from ncbench.report.figures.collapse import COLLAPSE, collapse
from ncbench.report.figures.dnc_share import dnc_share
from ncbench.report.figures.end_states import end_states
from ncbench.report.figures.gram import MOST_FRAMES, gram, gram_frames, gram_steps
from ncbench.report.figures.heatmap import heatmap
from ncbench.report.figures.learning_curves import learning_curves
from ncbench.report.figures.logits import logits
from ncbench.report.figures.loss import loss
from ncbench.report.figures.loss_ratio import loss_ratio
from ncbench.report.figures.means import means
from ncbench.report.figures.measures import measures
from ncbench.report.figures.neural_collapse import neural_collapse
from ncbench.report.figures.nullity import nullity
from ncbench.report.figures.phase_diagram import phase_diagram
from ncbench.report.figures.predicted import predicted
from ncbench.report.figures.rank import OVER_TIME, rank
from ncbench.report.figures.rank_over import rank_over
from ncbench.report.figures.robustness import robustness
from ncbench.report.figures.seed_range import QUANTITIES, seed_range
from ncbench.report.figures.sign_map import sign_map
from ncbench.report.figures.simplex import simplex
from ncbench.report.figures.size_scaling import size_scaling
from ncbench.report.figures.spectra import spectra
from ncbench.report.figures.strips import stacked_svg, strips
from ncbench.report.figures.style import FLOOR, KINDS, Plot, inline_svg, save, to_svg
from ncbench.report.figures.summary import summary
from ncbench.report.figures.tails import tails

__all__ = ["CATALOGUE", "CatalogueFigure", "DrawnFigure", "draw_all", "draw_one"]

_log = logging.getLogger(__name__)


class NothingToShowError(UndefinedError):
    """What the figure would show is the same everywhere, and a sentence says it."""


@dataclass(frozen=True)
class CatalogueFigure:
    """A figure that a page may have: file name, title, the function that draws it, what to see in it.

    `optional`: it is drawn where there is something to compare or to follow, and its absence needs no sentence in the
    page. With `needs` it is drawn where that measure is recorded. `measures` are those that it draws over the steps or
    compares: the figure `measures` leaves them out.
    """

    name: str
    title: str
    draw: Callable[[Dir], Plot]
    caption: str
    optional: bool = False
    needs: str | None = None
    measures: tuple[str, ...] = ()


def _collapse(dir: Dir) -> Plot:
    """The figure, where there is something to collapse; else NothingToShowError in place of flat lines."""
    values = load_measures(dir, COLLAPSE)["value"]
    if len(values) and values.max() <= FLOOR:
        raise NothingToShowError(
            "there is nothing to collapse; the variation within the classes is 0 from the first to the last step, as "
            "with one sample per class"
        )
    return collapse(dir)


OF_ENSEMBLES = "dead_layers"  # recorded of ensembles of fully connected networks
WITH_GRADIENT = "grad_max"  # recorded of everything that trains in full batch
CATALOGUE = (
    CatalogueFigure(
        "robustness",
        "Verdict over settings",
        robustness,
        "The outcome of every claim while one setting at a time, which the paper leaves open, is varied; the first "
        "column is the experiment as its file has it, with as few seeds.",
        optional=True,
    ),
    CatalogueFigure(
        "summary",
        "Sweep",
        summary,
        "Final loss, rank of the intermediate layers and within-class variability against the swept values; "
        "markers are the losses of the theory's solutions for the same configuration.",
        optional=True,
    ),
    CatalogueFigure(
        "phase_diagram",
        "Transition to rank K",
        phase_diagram,
        "Share of the weights' energy beyond rank K, largest of the layers, over weight decay and noise. Below the "
        "boundary the weights have rank K; the lines are the boundaries of a deep linear network.",
        optional=True,
        measures=("tail",),
    ),
    CatalogueFigure(
        "predicted",
        "Predicted and recorded",
        predicted,
        "What a theory predicts for norms, singular values and distances, and what training reached.",
        optional=True,
    ),
    CatalogueFigure(
        "loss_ratio",
        "Loss over DNC loss",
        loss_ratio,
        "Below 1 the SRG solution has a lower loss than every deep-neural-collapse solution; dots are what training "
        "found.",
        optional=True,
    ),
    CatalogueFigure(
        "dnc_share",
        "How often training finds a DNC solution",
        dnc_share,
        "Share of the replicas whose final loss is that of deep neural collapse, and of those that end below it, with "
        "bands of 95 %. Where a second quantity varies: the first share, a curve for each of its values.",
        optional=True,
    ),
    CatalogueFigure(
        "end_states",
        "Where training ends",
        end_states,
        "The final loss of every replica beside the losses of the known solutions. A replica has the colour of the "
        "level that it ended at; hollow ones have not converged and may still fall, black crosses have converged "
        "elsewhere.",
        optional=True,
        needs=WITH_GRADIENT,
    ),
    CatalogueFigure(
        "rank_over",
        "Rank of the logits at the end",
        rank_over,
        "Mean numerical rank of the mean logits over the replicas that have converged, a dot for each; hollow ones "
        "have not converged, and their rank may still fall.",
        optional=True,
        needs=WITH_GRADIENT,
    ),
    CatalogueFigure(
        "nullity",
        "Zero eigenvalues of the Hessian",
        nullity,
        "How many directions of zero curvature there are where training ended, and what the theory counts for the "
        "dimension of the set of solutions.",
        optional=True,
        needs="hessian_nullity",
        measures=("hessian_nullity",),
    ),
    CatalogueFigure(
        "sign_map",
        "Where low rank beats DNC",
        sign_map,
        "The best loss that training reached at a rank below K - 1, compared with the loss of DNC, for "
        "each number of classes K, depth L and decay. Diamonds: the decay at which the two are equal, between two "
        "neighbours of the grid.",
        optional=True,
        needs=WITH_GRADIENT,
    ),
    CatalogueFigure(
        "heatmap",
        "Rank over two swept values",
        heatmap,
        "Numerical rank of the class means in the intermediate layers, median over replicas.",
        optional=True,
    ),
    CatalogueFigure(
        "size_scaling",
        "Rank against the size of the network",
        size_scaling,
        "Stable and numerical rank of the inner weights and within-class variability against width or depth; only "
        "networks whose gradient is below 1e-3 count.",
        optional=True,
        needs=OF_ENSEMBLES,
    ),
    CatalogueFigure(
        "loss",
        "Loss and theory lines",
        loss,
        "The full objective during training; a replica that ends below the DNC line has found a solution "
        "with lower loss than any deep-neural-collapse solution of this problem.",
        measures=("loss", "fit", "regulariser"),
    ),
    CatalogueFigure(
        "learning_curves",
        "Accuracy and fit",
        learning_curves,
        "Accuracy and fit on the training and the test data. The terminal phase begins where the training error has "
        "vanished for good.",
        optional=True,
        measures=("accuracy",),
    ),
    CatalogueFigure(
        "neural_collapse",
        "Neural collapse",
        neural_collapse,
        "The four parts of neural collapse at the classifier, and the error beside them. Where the features collapse "
        "to a simplex, all of it falls to 0 in the terminal phase, which begins at the dotted line.",
        optional=True,
        needs="self_duality",
        measures=("self_duality",),
    ),
    CatalogueFigure(
        "simplex",
        "Class means and the simplex",
        simplex,
        "The class means of three or four classes, centred and scaled, in the plane or space that they span: at the "
        "first and the last recorded step, beside the regular simplex that neural collapse ends at.",
        optional=True,
    ),
    CatalogueFigure(
        "collapse",
        "Collapse per layer",
        _collapse,
        "Within-class variability relative to the spread of the class means (DNC1), and the total cluster "
        "variation relative to the total variance and raw: towards zero the samples of a class come to share "
        "one representation.",
        measures=COLLAPSE,
    ),
    CatalogueFigure(
        "seed_range",
        "Range over initialisations",
        seed_range,
        "What training makes of many initial values of the same network: where the shadow is narrow, all end alike.",
        optional=True,
        needs=OF_ENSEMBLES,
        measures=tuple(QUANTITIES),
    ),
    CatalogueFigure(
        "spectra",
        "Singular values at the end",
        spectra,
        "Neural collapse without biases makes all K singular values of the class means equal; the low-rank "
        "bias leaves few of them in the intermediate layers.",
    ),
    CatalogueFigure(
        "tails",
        "Tails of the weights' spectra",
        tails,
        "What the best approximation of rank k leaves out of each weight matrix, at the start and at the end: a drop "
        "at k = K is rank collapse.",
        optional=True,
        needs=OF_ENSEMBLES,
    ),
    CatalogueFigure(
        "bounds",
        "Distance to rank K and its bound",
        bounds,
        "The distance of every weight matrix to rank K never exceeds what the within-class variability of an earlier "
        "layer allows; the table says by which factor it stays below.",
        optional=True,
        measures=("distance", "residual", "rank_bound", "tightness"),
    ),
    CatalogueFigure(
        "rank",
        "Rank per layer",
        rank,
        "Number of singular values above one hundredth of the largest, and the exponential of the spectrum's "
        "entropy: K for neural collapse, less in the intermediate layers of a low-rank solution.",
        measures=OVER_TIME,
    ),
    CatalogueFigure(
        "gram",
        "Gram matrices of the class means",
        gram,
        "Cosines between the class means: the identity for an orthogonal frame (DNC2), the pattern of a "
        "strongly regular graph for the low-rank solution, which is called the triangular graph above a panel. With "
        "the nearest known geometry stands its relative error, and whether it is that of the centred means.",
    ),
    CatalogueFigure(
        "blocks",
        "Gram matrices of the samples",
        blocks,
        "Inner products of all samples, sorted by class, at the start and at the end: after collapse every pair of "
        "classes is a block of one value.",
        optional=True,
        measures=("gram_block",),
    ),
    CatalogueFigure(
        "logits",
        "Mean logits",
        logits,
        "Mean output for every class, of the replica with the lowest loss and of the one nearest to DNC; classes that "
        "depend on one another are neighbours. Deep neural collapse has one value off the diagonal; a solution of low "
        "rank has blocks, such as pairs of classes with opposite logits.",
        optional=True,
    ),
    CatalogueFigure(
        "means",
        "Class means",
        means,
        "Every column is a class, every row a neuron that answers to some class. In the SRG solution a neuron of the "
        "intermediate layers answers to the r - 1 classes that share a vertex; in the DNC solution to one.",
        optional=True,
    ),
)
MEASURES = CatalogueFigure(
    "measures",
    "Further measures",
    measures,
    "Every recorded measure that no other figure of this page shows, per layer during training; the table of measures "
    "below says what they are.",
)
GRAM_FRAMES = CatalogueFigure(
    "gram_frames",
    "Gram matrices over time",
    gram,
    "The same cosines at every step at which they were recorded, of the same replica.",
)
# What four of the figures were called in reports of version 0.1: no such picture must stand beside a new page.
FORMER_NAMES = ("transition", "ratio", "trend", "shadows")


@dataclass(frozen=True)
class DrawnFigure:
    """A figure as it stands in the page: its SVG, or a sequence of (step, SVG), or why there is none.

    `left_out` is a sentence on what has no place in it. `told`: the reason says all there is to see.
    """

    figure: CatalogueFigure
    svg: str = ""
    frames: tuple[tuple[int, str], ...] = ()
    missing: str = ""
    left_out: str = ""
    told: bool = False


def draw_all(dir: Dir, out: Path) -> list[DrawnFigure]:
    """Draws every figure that has records and writes figures/NAME.png, .svg and .pdf into `out`.

    A figure that cannot be drawn does not keep the page from being written: the page says why it is missing. Silent
    are only optional figures, where nothing is recorded that they could show.
    """
    folder = out / FIGURE_FOLDER
    make_folder(folder)
    recorded = list(dict.fromkeys(map(str, load_final(dir)["measure"])))
    done = all(info.get("status") == "done" for info in load_run_info(dir).values())
    wanted = [figure for figure in CATALOGUE if figure.needs is None or figure.needs in recorded]
    drawn = [draw_one(_awaited(figure, recorded, done), dir, folder) for figure in wanted]
    seen = [each.figure for each in drawn if each is not None and (each.svg or each.told)]
    shown = {name for figure in seen for name in figure.measures}
    further = _further_measures(dir, folder, [name for name in recorded if name not in shown])
    new = {each.figure.name for each in (*drawn, further) if each is not None and each.svg}
    for name in {*(figure.name for figure in CATALOGUE), MEASURES.name, *FORMER_NAMES} - new:
        for kind in KINDS:  # an older report's picture must not stand beside the new page
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    return [each for each in (*drawn, further, _gram_frames(dir)) if each is not None]


def _awaited(figure: CatalogueFigure, recorded: Iterable[str], done: bool) -> CatalogueFigure:
    """The figure, optional where what it shows cannot come any more: a network of one's own has no objective.

    Nothing comes of runs that are done; and of others none of its measures, where others are recorded already.
    """
    names = set(recorded)
    never = bool(names) and (done or (bool(figure.measures) and names.isdisjoint(figure.measures)))
    return replace(figure, optional=figure.optional or never)


def draw_one(figure: CatalogueFigure, dir: Dir, folder: Path) -> DrawnFigure | None:
    """The figure, or why it is missing; None for an optional one of which nothing is recorded."""
    try:
        plot = figure.draw(dir)
        svg = save(plot, folder, figure.name)
    except DamagedError:
        raise
    except (UndefinedError, CrowdedError) as reason:
        return DrawnFigure(figure, missing=str(reason), told=isinstance(reason, NothingToShowError))
    except NoRecordsError as reason:
        return None if figure.optional else DrawnFigure(figure, missing=str(reason))
    except Exception as error:  # whatever one figure meets in the records, the page and the other figures are written
        if isinstance(error, OSError) and Path(str(error.filename)).parent == folder:  # there is no room for the others
            raise
        _log.warning("figure %s could not be drawn", figure.name, exc_info=True)
        return DrawnFigure(figure, missing=f"drawing failed with {type(error).__name__}: {error}")
    return DrawnFigure(
        figure, svg=_picture(plot, svg, figure.name, figure.title), left_out=_called(plot.left_out, figure.name)
    )


def _called(sentence: str, name: str) -> str:
    """A figure's sentence on what it leaves out, with the call that draws it."""
    return sentence.replace("where=", f"figure.{name}(DIR, where=").replace("} draws", "}) draws")


def _further_measures(dir: Dir, folder: Path, names: Iterable[str]) -> DrawnFigure | None:
    """The figure of the measures that no other figure shows; None where there are none."""
    names = list(names)
    return draw_one(replace(MEASURES, draw=lambda dir: measures(dir, names)), dir, folder) if names else None


def _gram_frames(dir: Dir) -> DrawnFigure | None:
    try:
        frames = gram_frames(dir)
    except DamagedError:
        raise
    except NoRecordsError:
        return None
    except Exception as error:
        _log.warning("the Gram matrices over time could not be drawn", exc_info=True)
        return DrawnFigure(GRAM_FRAMES, missing=f"drawing failed with {type(error).__name__}: {error}")
    pictures = tuple(
        (step, _picture(plot, to_svg(plot, glyphs=False), f"gram-{step}", f"Gram matrices at step {step}"))
        for step, plot in frames
    )
    recorded = len(gram_steps(dir)) if len(pictures) == MOST_FRAMES else 0
    shown = f"Drawn are {MOST_FRAMES} of the {recorded} steps that have Gram matrices" if recorded > MOST_FRAMES else ""
    return DrawnFigure(GRAM_FRAMES, frames=pictures, left_out=shown) if len(pictures) > 1 else None


def _picture(plot: Plot, svg: str, prefix: str, title: str) -> Markup:
    """The figure inside the page, and its columns of panels, which a narrow screen shows one below the other."""
    # The only markup that is not escaped; matplotlib escapes the text inside its SVG.
    whole, parts = inline_svg(svg, prefix, title), stacked_svg(strips(plot), f"{prefix}-figure_1")
    kind = "picture several" if parts else "picture"
    return Markup(f'<span class="{kind}"><span class="whole">{whole}</span>{parts}</span>')
