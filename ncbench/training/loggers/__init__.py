"""Where the records of a run go besides its folder: a CSV table, TensorBoard, W&B. Every one gets the same rows.

The records are the truth. A logger that is begun in a folder with records first writes what they hold, so that a
resumed run has one whole history.
"""

from ncbench.training.loggers.base import RunLogger

__all__ = ["RunLogger"]
