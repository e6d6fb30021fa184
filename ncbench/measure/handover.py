"""What a process that a strategy starts has measured, for the process that started it.

With ddp_spawn, ddp_fork and ddp_notebook the training runs in processes of its own, and the callback there is a copy:
the one that the user holds would stay empty. The copy of process 0 leaves its measurements in a temporary file, of
which the user's knows the name, and which it removes when it has read it, or with itself.
"""

import os
import tempfile
import weakref
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

__all__ = ["Handover"]


class Handover:
    """A file from a copy of an object in another process to the process in which this one was made."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.path = Path(tempfile.gettempdir()) / f"ncbench-{uuid4().hex}.pt"
        weakref.finalize(self, _remove, self.path, self.owner)

    def leave(self, trainer: Any, value: Any) -> None:
        """Leave the value, plain or tensors, where the trainer's strategy has started this process."""
        launcher = getattr(getattr(trainer, "strategy", None), "launcher", None)
        started = any(kind.__name__ == "_MultiProcessingLauncher" for kind in type(launcher).__mro__)
        if started and os.getpid() != self.owner:
            part = self.path.with_suffix(".part")
            torch.save(value, part)
            part.replace(self.path)

    def collect(self) -> Any:
        """What a copy has left since the last call; None where that is nothing."""
        if os.getpid() != self.owner or not self.path.exists():
            return None
        value = torch.load(self.path, weights_only=True)
        self.path.unlink()
        return value


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a copy in a forked process is not the one that reads
        path.unlink(missing_ok=True)
