"""The rows for TensorBoard: event files in `tensorboard/` of the run folder. Needs the package tensorboard."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from typing_extensions import override

from ncbench.records.schema import TENSORBOARD
from ncbench.training.loggers.base import RunLogger, figures_beside
from ncbench.training.loggers.history import STEP, Row
from ncbench.training.loggers.pictures import picture

__all__ = ["TensorBoard"]


class TensorBoard(RunLogger):
    """Scalars, histograms of the singular values, and images of cosines and figures.

    Earlier event files of the folder are replaced: what they held is written anew from the records.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
        self.writer = SummaryWriter(str(folder / TENSORBOARD))
        self.replay()

    @override
    def write(self, row: Row) -> None:
        for name, value in row.numbers.items():
            if name != STEP:  # TensorBoard's own axis
                self.writer.add_scalar(name, value, row.step)
        for name, values in row.spectra.items():
            finite = values[np.isfinite(values)]
            if len(finite):
                self.writer.add_histogram(name, finite, row.step)
        for name, cosines in row.cosines.items():
            self.writer.add_image(name, picture(cosines), row.step, dataformats="HWC")
        self.writer.flush()

    @override
    def show_report(self, page: Path) -> None:
        for name, path in figures_beside(page).items():
            pixels = np.asarray(Image.open(path).convert("RGB"))
            self.writer.add_image(name, pixels, max(self.sent, 0), dataformats="HWC")

    @override
    def close(self, exit_code: int) -> None:
        self.writer.close()
