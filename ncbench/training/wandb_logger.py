"""The run folder on W&B: the records are the truth, and every measurement is sent under the same names.

An offline run that is resumed would leave a second segment whose steps start at 0 and which replaces the first on
`wandb sync`. So on resume one fresh segment with the same id replays the records, and the old ones are removed; an
online run is continued (`resume="allow"`) after the last step the server has.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from ncbench.records.schema import WANDB, last_step, parts
from ncbench.records.writer import summarise

__all__ = ["WandbRun"]


class WandbRun:
    """A Lightning WandbLogger whose history is what the records say."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        offline: bool,
        run_id: str,
        group: str,
        config: Mapping[str, Any],
        project: str,
        entity: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self.folder = Path(folder)
        old = list((self.folder / WANDB).glob("offline-run-*")) if offline else []
        self.logger = WandbLogger(
            save_dir=str(self.folder),
            offline=offline,
            id=run_id,
            name=f"{group}-{run_id}",
            project=project,
            entity=entity,
            group=group,
            tags=list(tags),
            config=dict(config),
            resume=None if offline else "allow",
        )
        run = self.logger.experiment
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        self.sent = -1 if offline else int(run.summary.get("step", -1))
        for part in parts(self.folder, "measures"):
            self.send(last_step(part))
        for segment in old:
            shutil.rmtree(segment)

    def send(self, step: int) -> None:
        """Send what was recorded at a step, unless it was sent before: medians, and quartiles where they differ."""
        if step <= self.sent:
            return
        row: dict[str, float] = {"step": step}
        for name, quartiles in summarise(self.folder, step).items():
            finite = {key: value for key, value in quartiles.items() if value is not None}
            row[name] = finite.get("median", float("nan"))
            if len(set(finite.values())) > 1:
                row |= {f"{name}.{key}": finite[key] for key in ("q25", "q75") if key in finite}
        self.logger.experiment.log(row)
        self.sent = step

    def finish(self, exit_code: int) -> None:
        """Close the W&B run, so that the next job of this process starts its own."""
        import wandb

        wandb.finish(exit_code=exit_code)
