"""The further processes of a run with `trainer.devices` > 1: started, joined with this one, and ended with it.

Process 0 is the command itself: it alone has the folder's lock, writes, prints and hears signals. The others are
`python -m ncbench.run.other_process FOLDER CHECKPOINT` on the configuration that process 0 has written, so that no
command line is run twice. They end as soon as process 0 does, however it ends.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytorch_lightning as pl
import torch
from typing_extensions import override

from ncbench.config.root import Config
from ncbench.data import EpochLoader, ImageData
from ncbench.data.base import RunData
from ncbench.run.one_line_errors import one_line_errors
from ncbench.run.signals import StopSignals

__all__ = ["HearSignals", "check_processes", "end_with_parent", "other_processes"]

_log = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds for the others to end after process 0 has ended well; after an error it is 2


def check_processes(config: Config, data: RunData) -> None:
    """ValueError of one line where the data cannot be shared by the processes of `trainer.devices`."""
    devices = config.trainer.devices
    if devices == 1:
        return
    if not isinstance(data, ImageData):
        raise ValueError(f"trainer.devices={devices}: only image sets in memory share their batches; leave it 1")
    with one_line_errors(config, "trainer"):
        EpochLoader(data.train, data.batch_size, mean=data.mean, std=data.std, process=(0, devices))


class HearSignals(pl.Callback):
    """The run hears signals itself, and of several processes number 0 alone, with which the others end.

    Lightning's own handlers talk to the other processes from inside the handler, where those may wait for something
    else, and then all hang.
    """

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.take_back()
        if not trainer.is_global_zero:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def other_processes(folder: Path, checkpoint: Path | None, processes: int) -> Iterator[None]:
    """Processes 1 ... `processes` - 1 beside what is done inside; nothing where there is one process only.

    They write to `.process-R.log`; where this process fails, what a failed one said goes into the run's log.
    """
    if processes == 1:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Lightning sets torch's threads itself unless OMP_NUM_THREADS is there.
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "NODE_RANK": "0"}
    common |= {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "ncbench.run.other_process", str(folder), str(checkpoint or "")]
    others: list[tuple[Path, subprocess.Popen[bytes]]] = []
    patience, failed = 2.0, False
    excepthook = sys.excepthook  # which torch replaces for good where processes are joined
    with _environment({**common, "LOCAL_RANK": "0"}):
        try:
            for rank in range(1, processes):
                said = folder / f".process-{rank}.log"
                with open(said, "wb") as output:
                    environment = {**os.environ, "LOCAL_RANK": str(rank)}
                    started = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
                others.append((said, started))
            yield
            patience = PATIENCE
        except Exception:
            failed = True
            raise
        finally:
            _end(others, patience, failed)
            sys.excepthook = excepthook


def _end(others: list[tuple[Path, "subprocess.Popen[bytes]"]], patience: float, failed: bool) -> None:
    """Wait for the others and kill those that do not end."""
    until = time.monotonic() + patience
    for rank, (said, process) in enumerate(others, 1):
        try:
            status = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = 0  # it waited for process 0
        if status and failed:
            _log.error("process %d ended with status %d\n%s", rank, status, said.read_text(errors="replace"))
        said.unlink(missing_ok=True)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def end_with_parent() -> None:
    """Let this process end within a second of the one that started it, also while it waits in a collective."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
