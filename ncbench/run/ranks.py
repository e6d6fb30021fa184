"""Which of a run's processes this is: one run may be trained by several (`trainer.devices`)."""

import os
from collections.abc import Mapping

__all__ = ["is_first_process"]

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")  # as torchrun, SLURM and Lightning set them


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process has the run's folder, records and log; the others only train along.

    Alone, a process is the first; so it is with Lightning's `LOCAL_RANK` 0 (of node 0).
    """
    return all(environment.get(name, "0") == "0" for name in _RANKS)
