"""`ncbench.train` on the device of `other_device`: `python -m tests.helpers.other_device_run EPOCH ARGUMENT ...`.

It ends with the run's exit status. With an EPOCH that is not 0 the run stops when it has recorded that epoch, by an
error, and is continued.
"""

import sys
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy

from ncbench.run import session
from ncbench.train import main
from tests.helpers.other_device import OnDevice, register


class Accelerator(CPUAccelerator):
    """Lightning's for the CPU, but that it takes another device."""

    def setup_device(self, device: torch.device) -> None:
        pass


def with_device(device: torch.device) -> Any:
    """Lightning's Trainer, on `device` whatever it is told."""
    real = pl.Trainer

    def make(*, accelerator: str, devices: int, strategy: str, **options: Any) -> pl.Trainer:
        return real(strategy=SingleDeviceStrategy(device=device, accelerator=Accelerator()), **options)

    return make


def run(stop: int, arguments: list[str]) -> int:
    """The exit status of the run, that has to have stopped after the epoch `stop` and be continued if that is not 0."""
    device, record = register(), session.RunSession._record

    def records(self: Any, step: int, epoch: float, found: Any, network: Any) -> None:
        assert all(parameter.device == device for parameter in network.parameters())
        record(self, step, epoch, found, network)

    def stops(self: Any, step: int, epoch: float, found: Any, network: Any) -> None:
        record(self, step, epoch, found, network)
        if epoch == stop:
            raise RuntimeError("planted")

    with (
        OnDevice(),
        patch.object(session, "training_device", lambda _: device),
        patch.object(pl, "Trainer", with_device(device)),
    ):
        if stop:
            with patch.object(session.RunSession, "_record", stops):
                assert main(arguments) == 1
        with patch.object(session.RunSession, "_record", records):
            return main(arguments)


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
