"""What a user's yaml makes, as the data of a run."""

from typing import Any

from ncbench.data.module_data import ModuleData, is_own
from ncbench.data.torch_data import TorchData

__all__ = ["as_run_data"]


def as_run_data(made: Any) -> Any:
    """The data of a run from an object of the user's: one of ours or like ours, a LightningDataModule, a Dataset.

    What has a `measure_loader` (see `ncbench.data.base.RunData`), or `points` or `labels` of a full-batch problem, is
    taken as it is; a LightningDataModule becomes a `ModuleData`, a map-style Dataset a `TorchData` with default
    arguments. Raises ValueError (one line) for anything else.
    """
    if callable(getattr(made, "measure_loader", None)):
        return made
    if is_own(made, "train_dataloader"):
        return ModuleData(made)
    if hasattr(made, "__getitem__") or hasattr(made, "__iter__"):
        return TorchData(train=made)
    if hasattr(made, "points") or hasattr(made, "labels"):
        return made
    if hasattr(made, "train_dataloader"):
        raise ValueError(f"_target_: {type(made).__name__} has no train_dataloader of its own")
    kind = "None" if made is None else f"a value of type {type(made).__name__}"
    raise ValueError(f"_target_: makes {kind}, which is neither a torch Dataset nor a LightningDataModule")
