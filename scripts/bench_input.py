"""Training images/s of one network fed from memory and fed by torchvision transforms and DataLoader workers.

Both sides train the same ResNet20 with a 4-layer head (float32, channels_last, SGD with momentum, batches of
128) on images of CIFAR-10's shape with random crops and flips, in turns within one run; the table gives
medians.

    python scripts/bench_input.py --root DIR     # the real CIFAR-10, laid out as torchvision does
    python scripts/bench_input.py                # random images of the same shape: the same work
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ncbench.data import CIFAR10, EpochLoader, ImageSet
from ncbench.models import BackboneWithHead, ResNet20

Batch = tuple[Tensor, Tensor]


class _Pictures(Dataset[tuple[Tensor, int]]):
    """One PIL image at a time through the transforms of the usual CIFAR recipe."""

    def __init__(self, data: ImageSet, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.pixels = data.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = data.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def main() -> None:
    """Print images/s of both sides and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of the real CIFAR-10; without it, random images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--batches", type=int, default=20, help="timed batches per turn (default 20)")
    parser.add_argument("--threads", type=int, help="intra-op threads (default: torch's choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)

    data, mean, std = _images(options.root)
    memory = EpochLoader(data.to(device), 128, mean=mean, std=std, augment=True, drop_last=True, channels_last=True)
    pictures = _Pictures(data, mean, std)
    workers = DataLoader(
        pictures,
        128,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=device.type == "cuda",
    )
    sides: dict[str, tuple[Iterable[Batch], _Trainer]] = {
        "in memory (EpochLoader)": (memory, _Trainer(device)),
        f"torchvision + DataLoader, {options.workers} workers": (workers, _Trainer(device)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, (loader, trainer) in sides.items():
            # The workers live on, so that their start is not timed; they sleep once their queues are full.
            speeds[name].append(_timed(iter(loader), trainer, options.batches, device))
    _table(speeds, "real CIFAR-10" if options.root else "random images", device)


def _images(root: str | None) -> tuple[ImageSet, list[float], list[float]]:
    if root is not None:
        source = CIFAR10(root=root)
        source.prepare_data()
        source.setup()
        return source.train, source.mean.tolist(), source.std.tolist()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50_000, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(10).repeat_interleave(5_000), 10), [0.5] * 3, [0.25] * 3


class _Trainer:
    """A network of its own and its optimiser: one step per batch."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        model = BackboneWithHead(depth=4, width=64, backbone=ResNet20, input_shape=(3, 32, 32), num_classes=10, seed=0)
        self.model = model.to(device)  # ResNet20's kernels are channels_last already
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def step(self, x: Tensor, y: Tensor) -> None:
        x = x.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        y = y.to(self.device, non_blocking=True)
        self.optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(self.model(x), y))
        self.optimizer.step()


def _timed(batches: Iterator[Batch], trainer: _Trainer, count: int, device: torch.device) -> float:
    """Images/s of `count` batches, after some that are not timed (the start of a pass, filled queues)."""
    for x, y in itertools.islice(batches, 4):
        trainer.step(x, y)
    _wait(device)
    images, start = 0, time.perf_counter()
    for x, y in itertools.islice(batches, count):
        trainer.step(x, y)
        images += len(y)
    _wait(device)
    return images / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _table(speeds: dict[str, list[float]], images: str, device: torch.device) -> None:
    print(f"{images}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}: training images/s")
    print(f"{'':36}{'median':>8}{'min':>8}{'max':>8}")
    for name, values in speeds.items():
        print(f"{name:36}{statistics.median(values):8.0f}{min(values):8.0f}{max(values):8.0f}")
    ours, theirs = speeds.values()
    # Turn by turn: a machine that is busy for a while slows both sides of a turn.
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"{'ratio (median over the turns)':36}{ratio:8.2f}")


if __name__ == "__main__":
    main()
