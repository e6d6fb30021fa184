"""What a Lightning Trainer says of its training: where it is, when it ends, and which weights it keeps.

Two of Lightning's callbacks keep other weights than those that are trained. `WeightAveraging` (an exponential moving
average, say) puts the averaged ones in their place for each validation and at the end; `StochasticWeightAveraging` at
the end alone, after one more epoch in which it estimates the statistics of batch normalisation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl

__all__ = ["averaged", "averages", "finished_epochs", "is_untrained", "last_epoch", "steps_taken"]


def finished_epochs(trainer: pl.Trainer) -> int:
    """Epochs finished, also inside on_train_epoch_end, where Lightning has not counted the present one yet.

    The epoch that StochasticWeightAveraging adds does not count.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    finished, last = int(max(progress.processed, progress.completed)), last_epoch(trainer)
    return finished if last is None or not _of_kind(trainer, "StochasticWeightAveraging") else min(finished, last)


def last_epoch(trainer: pl.Trainer) -> int | None:
    """After how many epochs the training ends if nothing ends it before; None where that is not said."""
    for callback in _of_kind(trainer, "StochasticWeightAveraging"):
        if hasattr(callback, "_max_epochs"):  # from the start of the training on
            return None if callback.swa_end == float("inf") else int(callback.swa_end) + 1
    known = trainer.max_epochs is not None and trainer.max_epochs >= 0
    return trainer.max_epochs if known else None


def steps_taken(trainer: pl.Trainer) -> int:
    """Lightning's count of optimiser steps; of a module that steps optimisers Lightning does not see, batches instead.

    That is manual optimisation with `self.optimizers(use_pl_optimizer=False)`, or with optimisers of its own.
    """
    return int(trainer.global_step or trainer.fit_loop.epoch_loop._batches_that_stepped)


def is_untrained(trainer: pl.Trainer) -> bool:
    """Whether this training has not taken any step, nor has the one whose checkpoint it goes on from."""
    begun = trainer.current_epoch > 0 or trainer.global_step > 0
    return not begun and trainer.fit_loop.epoch_loop.batch_progress.total.ready == 0


def averages(trainer: pl.Trainer) -> bool:
    """Whether the weights that are kept are averages of those that are trained."""
    return bool(_of_kind(trainer, "StochasticWeightAveraging") or _of_kind(trainer, "WeightAveraging"))


@contextmanager
def averaged(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[None]:
    """While open, the module has the averages of `WeightAveraging`, as for a validation, from its first average on."""
    swapped = [c for c in _of_kind(trainer, "WeightAveraging") if _has_averaged(c)] if trainer.training else []
    for callback in swapped:
        callback.on_validation_epoch_start(trainer, pl_module)
    try:
        yield
    finally:
        for callback in swapped:
            callback.on_validation_epoch_end(trainer, pl_module)


def _has_averaged(callback: Any) -> bool:
    model = getattr(callback, "_average_model", None)
    return model is not None and int(model.n_averaged) > 0


def _of_kind(trainer: pl.Trainer, name: str) -> list[Any]:
    """The trainer's callbacks of this class, of `pytorch_lightning` or of `lightning`."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [c for c in callbacks if any(kind.__name__ == name for kind in type(c).__mro__)]
