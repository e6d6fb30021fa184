"""Whole runs on a device that is not the CPU, which a machine without a GPU pretends: the numbers of the CPU's run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ncbench.report import load_measures, load_spectra
from ncbench.train import main as train
from tests.helpers.other_device import IS_SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["trainer.progress=false", "trainer.checkpoint_seconds=0", "measure.points=3"]
ON_REQUEST = "[nc,cdnv,etf_error,orthogonal_frame_error,equinorm,equiangularity,tcv_floor]"
IMAGES = ["+experiment=digits_mlp", "dataset.per_class=12", "dataset.batch_size=24", "trainer.max_epochs=3"]
RUNS = {
    "network": (0, [*IMAGES, "model=resnet20", "dataset.augment=true", f"measure.measures={ON_REQUEST}"]),
    "stopped": (
        1,
        [
            *IMAGES,
            "dataset.label_noise=0.1",
            "references=[]",
            "trainer.micro_batch=8",
            "optimizer=adam",
            "optimizer.lr=1e-3",
        ],
    ),
    "own data": (1, ["--config-dir", "MINE", "+experiment=own"]),
    "ensemble": (0, ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=12", "dataset.per_class=2"]),
    "l-bfgs": (
        0,
        ["+experiment=dufm_k10", "replicate.seed=2", "optimizer=lbfgs", "schedule.steps=12", "dataset.per_class=2"],
    ),
}
OWN = """# @package _global_
defaults:
  - override /dataset: torch
  - override /model: network
  - override /objective: standard
name: own
dataset:
  batch_size: 8
  train:
    _target_: torchvision.datasets.FakeData
    size: 50
    image_size: [1, 8, 8]
    num_classes: 3
    transform: {_target_: torchvision.transforms.ToTensor}
model: {_target_: tests.helpers.whole_networks.Functional, width: 8}
objective: {loss: ce}
trainer: {max_epochs: 3}
"""

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="needs devices that are written in Python, of torch 2.9")


def on_device(*arguments):
    """What a process with the device said; its exit status is 0."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_numbers_of_the_cpu(name, tmp_path, monkeypatch):
    stop, arguments = RUNS[name]
    (tmp_path / "MINE" / "experiment").mkdir(parents=True)
    (tmp_path / "MINE" / "experiment" / "own.yaml").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert train([*arguments, *SMALL, "hydra.run.dir=cpu"]) == 0
    on_device("-m", "tests.helpers.other_device_run", f"{stop}", *arguments, *SMALL, "hydra.run.dir=device")
    for load, column in ((load_measures, "value"), (load_spectra, "singular_value")):
        expected, found = load("cpu"), load("device")
        keys = [name for name in expected if name not in ("run", column)]
        assert len(expected) > 0
        assert found[keys].equals(expected[keys])
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-4, atol=1e-6)


PLANTED = """
import torch
from tests.helpers.other_device import OnDevice, register

device = register()
with OnDevice():
    x = torch.arange(6.0, device=device).reshape(2, 3)
    assert (x + torch.tensor(1.0)).sum().item() == 21 and x[torch.tensor([1])].device == device
    assert torch.ones(3).copy_(x[1]).tolist() == [3.0, 4.0, 5.0] == x.cpu()[1].tolist()
    assert torch.tensor(2.0, device=device).device == device
    for wrong in (
        lambda: x + torch.ones(3),
        lambda: x @ torch.ones(3, 2),
        lambda: torch.ones(2, 3)[:, torch.zeros(3, dtype=torch.int64, device=device)],
        lambda: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1])),
        lambda: torch.randn(3, device=device, generator=torch.Generator()),
        lambda: torch.stack([x.sum(), torch.tensor(0.0)]),
        lambda: x.index_put_((torch.tensor([0]),), torch.ones(1, 3)),
        lambda: x.numpy(),
    ):
        try:
            wrong()
        except (RuntimeError, TypeError) as error:
            print(str(error).split(",")[0].split(" device type")[0])
"""


def test_what_a_gpu_refuses_is_refused():
    said = on_device("-c", PLANTED).splitlines()
    both = "Expected all tensors to be on the same device"
    assert said == [*[both] * 4, "Expected a 'pretended'", both, both, "can't convert pretended:0"]
