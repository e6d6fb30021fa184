"""What can be said of a training that is not ours: its network, optimiser, data and trainer, as plain values.

They stand in the config.yaml of the folder that `MeasureCollapse(..., folder=...)` writes, by groups with the names of
`ncbench.train`, so that runs which differ in them are told apart by a report.
"""

import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["device_of", "network_values", "training_values"]

_NOT_PLAIN = object()


def network_values(network: nn.Module, layers: Sequence[str], num_classes: int, measures: Any) -> dict[str, Any]:
    """The network's class and size, the number of classes, and what is measured."""
    kind = type(network)
    return {
        "name": kind.__name__,
        "model": {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "parameters": sum(p.numel() for p in network.parameters() if not nn.parameter.is_lazy(p)),
        },
        "dataset": {"classes": num_classes},
        "measure": {"layers": list(layers), "measures": measures if isinstance(measures, str) else list(measures)},
    }


def training_values(
    trainer: Any, module: Any, network: nn.Module, layers: Sequence[str], num_classes: int, measures: Any
) -> dict[str, Any]:
    """`network_values`, and what a Lightning Trainer and LightningModule say: seed, optimiser, batches, hparams.

    The optimiser's values are those that it was made with, whatever a scheduler has made of them since.
    """
    seed = os.environ.get("PL_GLOBAL_SEED", "")
    loader = getattr(trainer, "train_dataloader", None)
    sizes = {"batch_size": getattr(loader, "batch_size", None), "samples": _length(getattr(loader, "dataset", None))}
    said = network_values(network, layers, num_classes, measures)
    said["dataset"] |= {key: value for key, value in sizes.items() if isinstance(value, int)}
    said |= {
        "name": type(module).__name__,
        "seed": int(seed) if seed.lstrip("-").isdecimal() else None,
        "trainer": {
            "max_epochs": trainer.max_epochs,
            "max_steps": trainer.max_steps,
            "precision": str(trainer.precision),
            "devices": trainer.world_size,
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "gradient_clip_val": trainer.gradient_clip_val,
        },
    }
    optimizers = list(getattr(trainer, "optimizers", ()))
    if optimizers:
        kind = type(optimizers[0])
        said["optimizer"] = {"_target_": f"{kind.__module__}.{kind.__qualname__}", **_plain(optimizers[0].defaults)}
    hparams = _plain(dict(getattr(module, "hparams", {})))
    return said | ({"hparams": hparams} if hparams else {})


def device_of(network: nn.Module) -> dict[str, Any]:
    """The `device` entry of run.json: where the parameters are."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"accelerator": device.type, "name": name}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are numbers, texts, None or lists of them: the rest has no text that is the same in every process."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        several = isinstance(value, (tuple, list))
        found = [_scalar(part) for part in (value if several else [value])]
        if not any(part is _NOT_PLAIN for part in found):
            kept[str(key)] = found if several else found[0]
    return kept


def _scalar(value: Any) -> Any:
    """The value as one of Python's own types, as yaml knows them: a number of NumPy's is one, too."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else _NOT_PLAIN


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None
