"""One function per figure: `figure.loss(dir)` draws what the runs in `dir` recorded.

In place of a directory each takes a callback, `figure.gram(callback)` with a `MeasureCollapse` that has measured, or a
table: of `load_measures`, `load_spectra`, `load_grams` or `load_means`, of `measure_network`, or `callback.table()`. Of
a table every run is a setting of its own; what it does not hold (a table of measures has no Gram matrices) is refused
in one line.

Each returns a matplotlib Figure: in a notebook it shows itself, `fig.savefig("loss.pdf")` writes it. A
directory whose runs have not recorded what a figure shows raises `NoRecordsError`, a ValueError; where the values are
recorded but none of them is finite, its subclass `UndefinedError`.
"""

from ncbench.records.runs import NoRecordsError, UndefinedError
from ncbench.report.figures.blocks import blocks
from ncbench.report.figures.bounds import bounds
from ncbench.report.figures.collapse import collapse
from ncbench.report.figures.comparison import comparison
from ncbench.report.figures.dnc_share import dnc_share
from ncbench.report.figures.end_states import end_states
from ncbench.report.figures.gram import gram, gram_frames
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
from ncbench.report.figures.rank import rank
from ncbench.report.figures.rank_over import rank_over
from ncbench.report.figures.robustness import robustness
from ncbench.report.figures.seed_range import seed_range
from ncbench.report.figures.sign_map import sign_map
from ncbench.report.figures.simplex import simplex
from ncbench.report.figures.size_scaling import size_scaling
from ncbench.report.figures.spectra import spectra
from ncbench.report.figures.summary import summary
from ncbench.report.figures.tails import tails

__all__ = [
    "NoRecordsError",
    "UndefinedError",
    "blocks",
    "bounds",
    "collapse",
    "comparison",
    "dnc_share",
    "end_states",
    "gram",
    "gram_frames",
    "heatmap",
    "learning_curves",
    "logits",
    "loss",
    "loss_ratio",
    "means",
    "measures",
    "neural_collapse",
    "nullity",
    "phase_diagram",
    "predicted",
    "rank",
    "rank_over",
    "robustness",
    "seed_range",
    "sign_map",
    "simplex",
    "size_scaling",
    "spectra",
    "summary",
    "tails",
]
