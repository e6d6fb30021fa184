"""Lightning modules, the papers' objectives, checkpoints. Names resolve on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "ClassifierModule": "ncbench.training.classifier",
    "FullBatchModule": "ncbench.training.full_batch",
    "AtomicCheckpointIO": "ncbench.training.checkpoints",
    "PaperObjective": "ncbench.training.objectives",
    "PerceptronModule": "ncbench.training.perceptron",
}

__all__ = [
    "AtomicCheckpointIO",
    "ClassifierModule",
    "FullBatchModule",
    "PaperObjective",
    "PerceptronModule",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ncbench.training' has no attribute {name!r}")
