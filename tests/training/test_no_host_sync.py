"""The training step never waits for the device: the host only queues work, so that a GPU is never idle for it.

Without a GPU: numbers read back (`.item()`, `bool(tensor)`, `nonzero`) are counted, and what stands on a pretended
CUDA device cannot be read at all.
"""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ncbench.config.root import Config
from ncbench.data import EpochLoader, ImageSet
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs
from ncbench.run.trainer import make_trainer, prepare_module
from ncbench.training.divergence import StopDiverged

READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", "aten.equal", "aten.unique")
TINY = ["+experiment=digits_mlp", "dataset.per_class=24", "objective.loss=ce", "references=[]", "trainer.max_epochs=1"]


class Reads(TorchDispatchMode):
    """Counts the operations that wait for a number."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += str(func).startswith(READS)
        return func(*args, **(kwargs or {}))


class InSteps(pl.Callback):
    """The mode is on from the start of the first batch to the end of the last."""

    def __init__(self, mode):
        self.mode, self.batches = mode, 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches += 1
        if batch_idx + 1 == trainer.num_training_batches:
            self.mode.__exit__(None, None, None)


def config_of(*overrides) -> Config:
    return compose_jobs([*TINY, *overrides], multirun=False)[0].config


def reads_of_an_epoch(folder, *overrides, callbacks=()):
    """(numbers read back, batches) between the first step and the last."""
    config = config_of(*overrides)
    built, mode = build(config), Reads()
    prepare_module(built.module, config)
    inside = InSteps(mode)
    trainer = make_trainer(config, [StopDiverged(), *callbacks, inside], 1, folder)
    trainer.fit(built.module, datamodule=built.data)
    return mode.count, inside.batches


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=resnet20"],
        ["dataset.augment=true"],
        ["trainer.precision=bf16-mixed"],
        ["trainer.micro_batch=8"],
        [
            "optimizer=adam",
            "trainer.fused=true",
        ],  # as on a GPU; the other one reads its count of steps, kept on the CPU
    ],
    ids=" ".join,
)
def test_no_number_is_read_in_a_step(overrides, tmp_path):
    """With cross-entropy: torch's one_hot of the squared loss checks its labels on a CPU, and does not on a GPU."""
    counts = [reads_of_an_epoch(tmp_path / f"{b}", *overrides, f"dataset.batch_size={b}") for b in (120, 24)]
    assert [batches for _, batches in counts] == [2, 10]
    assert [count for count, _ in counts] == [0, 0]


def test_a_number_that_is_read_would_be_seen(tmp_path):
    class Looks(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            assert outputs["loss"] < 1e9

    count, batches = reads_of_an_epoch(tmp_path, "dataset.batch_size=24", callbacks=[Looks()])
    assert count == batches == 10


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_on_a_pretended_gpu_nothing_is_read_from_the_loader_to_the_loss(loss):
    """Order, augmentation, normalisation, network, objective: a FakeTensor on cuda has no numbers to read."""
    module = build(config_of("model=resnet20", f"objective.loss={loss}")).module
    with FakeTensorMode(allow_non_fake_inputs=True):
        with pytest.raises(DataDependentOutputException):
            torch.zeros(2, device="cuda").sum().item()
        for part in module.modules():
            for name, x in part._parameters.items():
                part._parameters[name] = None if x is None else torch.nn.Parameter(torch.empty(x.shape, device="cuda"))
            for name, x in part._buffers.items():
                part._buffers[name] = torch.empty(x.shape, dtype=x.dtype, device="cuda")
        images = object.__new__(ImageSet)  # without its checks, which read the labels once
        images.__dict__.update(
            images=torch.zeros(100, 1, 8, 8, dtype=torch.uint8, device="cuda"),
            labels=torch.zeros(100, dtype=torch.int64, device="cuda"),
            num_classes=10,
            class_names=(),
        )
        loader = EpochLoader(images, 32, mean=[0.5], std=[0.2], augment=True, channels_last=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that autocast is off, as there is no GPU
            losses = [module.training_step(batch, number) for number, batch in enumerate(loader)]
    assert [(x.device.type, x.shape) for x in losses] == [("cuda", ())] * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("overrides", [[], ["trainer.precision=bf16-mixed"], ["trainer.micro_batch=8"]], ids=str)
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_a_gpu_is_not_waited_for(loss, overrides, tmp_path):
    """torch itself raises where a call waits for the device, from the second batch on (the first sets libraries up)."""

    class Strict(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 1:
                torch.cuda.set_sync_debug_mode("error")

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx + 1 == trainer.num_training_batches:
                torch.cuda.set_sync_debug_mode("default")

    config = config_of(
        "model=resnet20", "dataset.augment=true", f"objective.loss={loss}", "dataset.batch_size=24", *overrides
    )
    built = build(config)
    prepare_module(built.module, config)
    trainer = make_trainer(config, [StopDiverged(), Strict()], 1, tmp_path)
    try:
        trainer.fit(built.module, datamodule=built.data)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.global_step == 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "overrides",
    [["trainer.compile=true"], ["trainer.cuda_graph=true"], ["trainer.fused=false"], ["trainer.micro_batch=16"]],
)
@pytest.mark.filterwarnings("ignore:GPU available but not used")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # of torch.compile in torch 2.11
def test_the_same_training_on_a_gpu(overrides, tmp_path):
    """Compiled, recorded, with another optimiser kernel, in micro-batches: a plain run's path, rounding apart."""
    ends = []
    for place in (["trainer.accelerator=cpu"], ["trainer.accelerator=gpu", *overrides]):
        config = config_of("model=convnet", "dataset.batch_size=48", "trainer.max_epochs=2", *place)
        built = build(config)
        prepare_module(built.module, config)
        make_trainer(config, [StopDiverged()], 2, tmp_path / place[0]).fit(built.module, datamodule=built.data)
        ends.append({name: x.cpu() for name, x in built.module.state_dict().items()})
    for name, x in ends[0].items():
        torch.testing.assert_close(ends[1][name], x, rtol=2e-2, atol=2e-3)
