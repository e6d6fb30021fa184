"""Training images/s of our step against the same network in plain Lightning with torchvision's data, in turns.

plain          an ordinary LightningModule in float32: torchvision's CIFAR10, RandomCrop, flip, ToTensor, Normalize, a
               DataLoader with two workers; logger, bar, summary and checkpoints off
plain, ch.last the same with network and images in channels_last
ours 32        what `python -m ncbench.train +experiment=cifar_resnet20 dataset.augment=true dataset.batch_size=128
               trainer.precision=32` trains with
ours bf16      the same with trainer.precision=bf16-mixed
ours ... graph on a CUDA device, with trainer.cuda_graph=true besides

All train ResNet20 with the 4-layer head on CIFAR-10, batches of 128, the loss of the experiment, SGD. A turn of a side
is one `Trainer.fit` of --batches timed batches after a few that are not (workers start, queues fill, code is compiled).
Ratios are medians over the turns. `network alone` is forward, backward and optimiser on one batch in a bare loop: its
share of a step is what is left to gain without another network. At the end what measuring costs at the experiment's
own cadence.

    python scripts/bench_train.py --root DIR [--turns 3] [--batches 20] [--threads 1] [--compile]
    python scripts/bench_train.py --root DIR --device cuda --batches 380
"""

import argparse
import logging
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from ncbench.config.root import Config
from ncbench.measure.measure_pass import measure
from ncbench.models import BackboneWithHead, ResNet20
from ncbench.run.build import build, measured_layers
from ncbench.run.compose import compose_jobs
from ncbench.run.trainer import make_trainer, prepare_module
from ncbench.training.divergence import StopDiverged

BATCH, WARM = 128, 3
TEST_IMAGES, IMAGES = 10_000, 50_000
SMALLER = (50,)  # images in a batch of a measurement, beside the experiment's own number


class Timer(pl.Callback):
    """Seconds, and those of this process's CPU time, of all batches after the first `WARM`, up to `last`."""

    def __init__(self, last: int) -> None:
        self.last = last

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Begin or end the timed part."""
        if batch_idx + 1 in (WARM, self.last):
            wait(pl_module.device)
            now = (time.perf_counter(), time.process_time())
            if batch_idx + 1 == WARM:
                self.began = now
            else:
                self.rates = [(self.last - WARM) * BATCH / (b - a) for a, b in zip(self.began, now, strict=True)]


class Plain(pl.LightningModule):
    """The network of the experiment, its loss, SGD."""

    def __init__(self, memory_format: torch.memory_format) -> None:
        super().__init__()
        network = BackboneWithHead(
            depth=4, width=64, backbone=ResNet20, seed=0, input_shape=(3, 32, 32), num_classes=10
        )
        self.network, self.memory_format = network.to(memory_format=memory_format), memory_format

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """1/(2b) sum ||f - e_y||^2."""
        x, y = batch
        outputs = self.network(x.to(memory_format=self.memory_format))
        loss: Tensor = (outputs - nn.functional.one_hot(y, 10)).square().sum(1).mean() / 2
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD with the rate of the experiment."""
        return torch.optim.SGD(self.parameters(), lr=0.05)


def main() -> None:
    """Run the sides in turns and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, metavar="DIR", help="with cifar-10-batches-py, as torchvision has it")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batches", type=int, default=20, help="timed, of each turn (default 20)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU, for every side (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="of the plain sides' DataLoader (default 2)")
    parser.add_argument("--compile", action="store_true", help="ours also with trainer.compile=true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    sides = sides_of(options)
    rates: dict[str, list[list[float]]] = {name: [] for name in sides}
    for _ in range(options.turns):
        for name, side in sides.items():
            rates[name].append(side())
    table(rates, options)
    share_of_network(rates, options)
    cost_of_measuring(rates, options)


def sides_of(options: Any) -> dict[str, Callable[[], list[float]]]:
    """By name, what trains for one turn and gives (images/s, images per second of this process's CPU time)."""
    with tempfile.TemporaryDirectory() as folder:  # removed when it is no longer referred to
        place = Path(folder)
    last = WARM + options.batches
    sides: dict[str, Callable[[], list[float]]] = {}
    pictures = torchvision_images(options.root, last * BATCH)
    for name, form in (("plain", torch.contiguous_format), ("plain, ch.last", torch.channels_last)):
        module = Plain(form)
        sides[name] = lambda module=module: plain_turn(module, pictures, last, options)  # type: ignore[misc]
    for name, overrides in ours(options).items():
        config = configured(options, *overrides, f"dataset.per_class={math.ceil(last * BATCH / 10)}")
        built = build(config)
        prepare_module(built.module, config)
        sides[name] = lambda config=config, built=built: our_turn(config, built, last, place)  # type: ignore[misc]
    return sides


def ours(options: Any) -> dict[str, list[str]]:
    """Our sides, and the configuration of each."""
    precisions = {"ours 32": "32", "ours bf16": "bf16-mixed"}
    sides = {name: [f"trainer.precision={precision}"] for name, precision in precisions.items()}
    if options.device == "cuda":
        sides |= {f"{name} graph": [*overrides, "trainer.cuda_graph=true"] for name, overrides in sides.items()}
    if options.compile:
        sides |= {
            f"{name} compiled": [*overrides, "trainer.compile=true"]
            for name, overrides in sides.items()
            if "graph" not in name
        }
    return sides


def configured(options: Any, *overrides: str) -> Config:
    """The experiment on this device, with augmentation."""
    accelerator = "gpu" if options.device == "cuda" else "cpu"
    own = [
        f"dataset.root={options.root}",
        "dataset.augment=true",
        f"dataset.batch_size={BATCH}",
        f"trainer.accelerator={accelerator}",
    ]
    (job,) = compose_jobs(["+experiment=cifar_resnet20", *own, *overrides], multirun=False)
    return job.config


def our_turn(config: Config, built: Any, last: int, place: Path) -> list[float]:
    """One fit as in a run, without measures and checkpoints."""
    timer = Timer(last)
    trainer = make_trainer(config, [StopDiverged(), timer], 1, place)
    trainer.fit(built.module, datamodule=built.data)
    return timer.rates


def plain_turn(module: Plain, pictures: Any, last: int, options: Any) -> list[float]:
    """One fit of an ordinary LightningModule."""
    cuda = options.device == "cuda"
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=options.workers, pin_memory=cuda)
    timer = Timer(last)
    quiet: dict[str, Any] = dict.fromkeys(
        ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False
    )
    trainer = pl.Trainer(max_epochs=1, accelerator="gpu" if cuda else "cpu", devices=1, callbacks=[timer], **quiet)
    trainer.fit(module, loader)
    return timer.rates


def torchvision_images(root: str, count: int) -> Subset[Any]:
    """The usual recipe for CIFAR-10, the first `count` images."""
    normalised = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalised]
    return Subset(datasets.CIFAR10(root, train=True, transform=transforms.Compose(steps)), range(count))


def table(rates: dict[str, list[list[float]]], options: Any) -> None:
    """Medians, extremes, and ratios to the two plain sides."""
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"cpu, {options.threads} thread(s)"
    print(f"ResNet20 + head, {device}, torch {torch.__version__}; {options.turns} turns of {options.batches} batches")
    print(f"  {'images/s':20}{'median':>8}{'lowest':>8}{'highest':>8}{'per CPU s':>11}{'x plain':>9}{'x ch.last':>11}")
    for name, turns in rates.items():
        wall = [rate for rate, _ in turns]
        to = [ratio(rates[name], rates[plain]) for plain in ("plain", "plain, ch.last")]
        cpu = statistics.median(rate for _, rate in turns)
        spread = f"{statistics.median(wall):8.0f}{min(wall):8.0f}{max(wall):8.0f}{cpu:11.0f}"
        print(f"  {name:20}{spread}{to[0]:9.2f}{to[1]:11.2f}")
    for name in ours(options):
        print(f"  an epoch of {IMAGES} images, {name}: {IMAGES / median_of(rates[name]):.1f} s")


def ratio(one: list[list[float]], other: list[list[float]]) -> float:
    """Turn by turn: what slows the machine for a while slows both."""
    return statistics.median(a[0] / b[0] for a, b in zip(one, other, strict=True))


def median_of(turns: list[list[float]]) -> float:
    """Images/s."""
    return statistics.median(rate for rate, _ in turns)


def share_of_network(rates: dict[str, list[list[float]]], options: Any) -> None:
    """Images/s of the network alone and its share of our step, in CPU time on a CPU, beside other work perhaps."""
    for name, overrides in ours(options).items():
        config = configured(options, *overrides, "dataset.per_class=13")
        built = build(config)
        prepare_module(built.module, config)
        module: Any = built.module.to(options.device)
        built.data.setup(device=options.device)
        batch = next(iter(built.data.train_dataloader()))
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
        bf16 = config.trainer.precision == "bf16-mixed"

        def step(module: Any = module, batch: Any = batch, optimizer: Any = optimizer, bf16: bool = bf16) -> None:
            with torch.autocast(options.device, torch.bfloat16, enabled=bf16):
                loss = module.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        clock = time.perf_counter if options.device == "cuda" else time.process_time
        alone = per_second(step, len(batch[1]), options, clock)
        our = statistics.median(turn[options.device == "cpu"] for turn in rates[name])
        print(f"  network alone, {name}: {alone:.0f} images/s, {100 * our / alone:.0f} % of our step")


def per_second(work: Callable[[], None], images: int, options: Any, clock: Callable[[], float]) -> float:
    """The median rate of `--turns` repetitions."""
    found: list[float] = []
    for turn in range(options.turns + 1):
        wait(torch.device(options.device))
        began = clock()
        for _ in range(max(1, options.batches // 2)):
            work()
        wait(torch.device(options.device))
        if turn:
            found.append(max(1, options.batches // 2) * images / (clock() - began))
    return statistics.median(found)


def cost_of_measuring(rates: dict[str, list[list[float]]], options: Any) -> None:
    """A measurement of the train and test images over the training between two, at the experiment's cadence."""
    config = configured(options, "dataset.per_class=200")
    built = build(config)
    module: Any = built.module.to(options.device)
    built.data.setup(device=options.device)
    classes = built.data.num_classes
    layers = measured_layers(config, module)
    arguments: dict[str, Any] = {"layers": layers, "num_classes": classes, "objective": module.objective}
    clock = time.perf_counter if options.device == "cuda" else time.process_time
    loaders = {size: built.data.measure_loader("train", size) for size in (config.measure.batch_size, *SMALLER)}
    seconds: dict[int, list[float]] = {size: [] for size in loaders}
    for _ in range(options.turns + 1):
        for size, loader in loaders.items():
            wait(torch.device(options.device))
            began = clock()
            measure(module.network, {"train": loader}, **arguments)
            wait(torch.device(options.device))
            seconds[size].append((clock() - began) / len(built.data.train))
    epochs, points = config.trainer.max_epochs or 0, len(built.due)
    for size, found in seconds.items():
        per_image = statistics.median(found[1:])
        print(f"  measuring in batches of {size}: {1 / per_image:.0f} images/s; {points} times in {epochs} epochs:")
        for name in ours(options):
            training = epochs * IMAGES / statistics.median(turn[options.device == "cpu"] for turn in rates[name])
            shares = [points * images * per_image / training for images in (IMAGES, IMAGES + TEST_IMAGES)]
            print("    {:20}{:.1%} of training, with the test images {:.1%}".format(name, *shares))


def wait(device: torch.device) -> None:
    """Until a GPU has done what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
