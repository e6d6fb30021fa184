"""Entry point of the processes 1, 2, ... of a run: `python -m ncbench.run.other_process FOLDER CHECKPOINT`.

Started by `ncbench.run.processes` with LOCAL_RANK and the address of process 0. They train and measure along, and write
nothing. Signals that ask to stop, which may be sent to all processes of a command, are process 0's business.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.console import Console

from ncbench.config.cores import usable_cores
from ncbench.config.validate import validate_recorded
from ncbench.records.folder import RunFolder, read_config
from ncbench.run.processes import end_with_parent
from ncbench.run.session import RunSession
from ncbench.run.signals import STOPPING, StopSignals

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Train along from the checkpoint (an empty text: from the start)."""
    folder, checkpoint = sys.argv[1:] if argv is None else argv
    end_with_parent()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    # Process 0 has written it for this one: what it asked of the environment is the same here.
    values: Any = OmegaConf.to_container(OmegaConf.create(read_config(Path(folder))), resolve=True)
    recorded = validate_recorded(values)
    config = replace(recorded, trainer=replace(recorded.trainer, progress=False))
    torch.set_num_threads(config.trainer.threads or usable_cores())  # OMP_NUM_THREADS is process 0's share
    trained = RunSession(config, RunFolder(folder), Console(quiet=True), StopSignals())
    trained.train(Path(checkpoint) if checkpoint else None)
    return 0


def _run() -> None:
    """`main`, and the end of the process at once: nothing is left to write, and process 0 waits for it."""
    status = 1
    try:
        status = main()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _run()
