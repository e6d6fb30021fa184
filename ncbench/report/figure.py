"""One function per figure: `figure.loss(dir)` draws what the runs in `dir` recorded.

Each returns a matplotlib Figure: in a notebook it shows itself, `fig.savefig("loss.pdf")` writes it. A
directory whose runs have not recorded what a figure shows raises `NoRecordsError`, a ValueError.
"""

from ncbench.report.against_dnc import dnc_share, ratio
from ncbench.report.bounds import bounds
from ncbench.report.class_means import means
from ncbench.report.collapse_curves import collapse
from ncbench.report.grams import gram, gram_frames
from ncbench.report.heatmaps import heatmap
from ncbench.report.loss_curves import loss
from ncbench.report.predictions import predicted
from ncbench.report.ranks import rank
from ncbench.report.sample_blocks import blocks
from ncbench.report.shadows import shadows
from ncbench.report.size_trends import trend
from ncbench.report.spectral import spectra
from ncbench.report.style import NoRecordsError
from ncbench.report.sweeps import summary
from ncbench.report.tails import tails
from ncbench.report.transition import transition

__all__ = [
    "NoRecordsError",
    "blocks",
    "bounds",
    "collapse",
    "dnc_share",
    "gram",
    "gram_frames",
    "heatmap",
    "loss",
    "means",
    "predicted",
    "rank",
    "ratio",
    "shadows",
    "spectra",
    "summary",
    "tails",
    "transition",
    "trend",
]
