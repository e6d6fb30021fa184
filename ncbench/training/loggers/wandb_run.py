"""The rows on W&B, online or in an offline run beside the records.

An offline run that is resumed would leave a second segment whose steps start at 0 and which replaces the first on
`wandb sync`. So on resume one fresh segment with the same id replays the records, pictures included, and the old ones
are removed; an online run is continued (`resume="allow"`) after the last step the server has.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from typing_extensions import override

from ncbench.records.schema import CLAIMS, FINAL_TABLE, WANDB
from ncbench.training.loggers.base import RunLogger, figures_beside
from ncbench.training.loggers.history import STEP, Row
from ncbench.training.loggers.pictures import picture

__all__ = ["WandbRun"]

_BINS = 64
_NARROWEST = 1e-6  # of the largest value: a histogram of a narrower range is drawn this wide
_STAGED = "artifact"  # in the folder `wandb`: copies of what the artifact holds, until it is sent


class WandbRun(RunLogger):
    """One run of W&B, known by `run_id`. It prints nothing, but for the address of an online run."""

    def __init__(
        self,
        folder: Path,
        *,
        offline: bool,
        run_id: str,
        name: str,
        group: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
        project: str,
        entity: str | None = None,
    ) -> None:
        super().__init__(folder)
        old = [path for path in (folder / WANDB).glob("offline-run-*") if path.is_dir()] if offline else []
        (folder / WANDB).mkdir(exist_ok=True)
        self.run = wandb.init(
            dir=str(folder),
            id=run_id,
            name=name,
            group=group,
            tags=list(tags),
            config=dict(config),
            project=project,
            entity=entity,
            resume=None if offline else "allow",
            mode="offline" if offline else "online",
            # The commit stands in run.json; the address of the remote repository may hold a password.
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )
        if not offline:
            print(f"W&B: {self.run.url}", file=sys.stderr)
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)
        self.sent = -1 if offline else int(self.run.summary.get(STEP, -1))
        self.replay()
        for segment in old:
            shutil.rmtree(segment)

    @override
    def write(self, row: Row) -> None:
        spectra = {name: _histogram(values) for name, values in row.spectra.items()}
        caption = f"replica {row.replica}, step {row.step}"
        images = {name: wandb.Image(picture(x), caption=caption) for name, x in row.cosines.items()}
        self.run.log({**row.numbers, STEP: row.step, **spectra, **images})

    @override
    def show_report(self, page: Path) -> None:
        images = {name: wandb.Image(str(path)) for name, path in figures_beside(page).items()}
        self.run.log({STEP: max(self.sent, 0), **images})
        report = wandb.Artifact(f"report-{self.run.id}", type="report")
        staged = self.folder / WANDB / _STAGED
        staged.mkdir(exist_ok=True)
        for path in (page, page.with_name(FINAL_TABLE), page.with_name(CLAIMS)):
            if path.is_file():  # a copy of our own: W&B's would lie in the user's home until it is sent
                report.add_file(str(shutil.copy(path, staged)), name=path.name, policy="immutable")
        self.run.log_artifact(report)

    @override
    def close(self, exit_code: int) -> None:
        """Close the W&B run, so that the next job of this process starts its own."""
        self.run.finish(exit_code=exit_code)


def _histogram(values: Any) -> wandb.Histogram:
    finite = values[np.isfinite(values)]
    within = None
    if len(finite):
        middle, reach = float(np.mean(finite)), _NARROWEST * (float(np.abs(finite).max()) or 1.0)
        if np.ptp(finite) < reach:  # equal but for rounding: bins between such values cannot be told apart
            within = (middle - reach, middle + reach)
    return wandb.Histogram(np_histogram=np.histogram(finite, bins=_BINS, range=within))
