"""How many cores a run may use, and how many it can: what `trainer.threads=null` means. Needs no torch.

`usable_cores` is what the machine, the container and the person allow; `cores_of_network` what the network is worth, by
the multiply-adds of one forward pass over what one step sees. The engines of ensembles (gradient descent and heavy ball
on free features, L-BFGS) give every thread replicas of its own for many steps, and a thread pays from 3.5 10^6 of them
on. Everything else shares every operation of a step among torch's threads, which wait for each other after each: on an
idle machine two are up to 1.6 times as fast, beside other work up to twelve times as slow, so there a thread takes
10^9. Milliseconds of a step on one thread, and those over the milliseconds on two, on an idle machine and beside two
processes that never rest (two cores of an AMD EPYC, torch 2.15; `scripts/bench_threads.py steps --beside 2`):

    multiply-adds    ms   idle   busy   threads   what
          7.8e+06   1.3   1.13   0.25      1      digits_mlp
          8.7e+07  14.1   1.17   0.13      1      cifar_resnet20_quick (digits, batches of 34)
          4.3e+08  39.6   1.59   0.09      1      the same in batches of 170
          9.0e+08  69.9   1.53             1      digits_mlp, every layer 1024 wide
          4.2e+06   0.6   1.09             1      dufm_k10, 60 replicas
          7.0e+06   1.1   1.58             2      dufm_k10, 100 replicas
          7.0e+06   2.3   1.41             1      the same with Adam, on torch's threads
          7.0e+06  21.5   1.70             2      the same with L-BFGS

Another run, with other work beside it at times, read 1.09 at 4.3e+08 and 0.91 in the last row.
"""

import math
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.config.models import Backbone, FreeFeatures, Network
from ncbench.config.rules import is_list
from ncbench.config.variants import public_name

if TYPE_CHECKING:
    from ncbench.config.root import Config

__all__ = ["available_cores", "cores_of_network", "multiply_adds", "replicas_of", "threads_of", "usable_cores"]

OF_TORCH, OF_REPLICAS = 1e9, 3.5e6  # multiply-adds of a step that are worth a thread of torch, of an ensemble's engine

# (channels, side) of the images; what is not known is taken for CIFAR-10.
_IMAGES = {"digits": (1, 8), "mnist": (1, 28), "fashion_mnist": (1, 28), "cifar10": (3, 32)}
_SAMPLES = {"digits": 1797, "mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000}
# Of one 32 x 32 image, without the last linear map; other sides in proportion.
_RESNET20, _RESNET18 = 40_550_000, 555_420_000


def usable_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Cores that a run may use: those of `available_cores`, and at most OMP_NUM_THREADS where that is a number >= 1.

    Of a list as in OMP_NUM_THREADS=4,2 (nested regions) the first number counts.
    """
    first = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    bound = int(first) if first.isascii() and first.isdigit() else 0
    return min(available_cores(), bound) if bound else available_cores()


def available_cores(root: Path = Path("/")) -> int:
    """Cores this process may run on: by its affinity, and by the CPU quota of its control groups (at least 1)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.floor(min(cores, _quota(root))))


def threads_of(config: "Config", environment: Mapping[str, str] = os.environ) -> int:
    """The threads of each process: `trainer.threads`, which wins over everything; null: what the work can use."""
    share = max(1, usable_cores(environment) // config.trainer.devices)
    return config.trainer.threads or min(_threads_of_network(config), share)


def cores_of_network(config: "Config") -> int:
    """The cores that a run can use on a machine that has them: its processes times their threads.

    The threads are `trainer.threads`, or what the network is worth: 1 for small ones; of ensembles at most one for
    each replica.
    """
    return config.trainer.devices * (config.trainer.threads or _threads_of_network(config))


def _threads_of_network(config: "Config") -> int:
    optimizer, work = config.optimizer, multiply_adds(config) / config.trainer.devices
    free = isinstance(config.model, FreeFeatures)
    if config.model.full_batch and (optimizer.line_search or (free and optimizer.rates_of_replicas)):
        return max(1, min(replicas_of(config), int(work / OF_REPLICAS)))
    return max(1, int(work / OF_TORCH))


def multiply_adds(config: "Config") -> float:
    """Multiply-adds of one forward pass over what one step sees: a batch, or all samples for all replicas.

    A backbone or network that is not one of ncbench's counts as ResNet20.
    """
    model, dataset = config.model, config.dataset
    if isinstance(model, Network):
        whole = _RESNET18 if public_name(model._target_) == "models.ResNet18" else _RESNET20
        return float(getattr(dataset, "batch_size", None) or 128) * whole * (_image(config)[1] / 32) ** 2
    widths = list(model.width) if is_list(model.width) else [model.width] * model.num_widths
    outputs = dataset.known_classes or 10
    if isinstance(model, Backbone):
        batch = getattr(dataset, "batch_size", None) or 128
        return float(batch) * (_of_backbone(config, widths[0]) + _product([*widths, outputs]))
    if model.on_inputs:
        inputs = getattr(dataset, "dimension", None) or math.prod([*_image(config), _image(config)[1]])
        widths = [inputs, *widths]
        outputs = inputs if getattr(dataset, "targets", "labels") == "inputs" else outputs
    return float(replicas_of(config)) * _num_samples(config) * _product([*widths, outputs])


def _of_backbone(config: "Config", output_width: int) -> float:
    """Of one image: matrices of an MLP, 3x3 convolutions that halve the image, or ResNet20."""
    assert isinstance(config.model, Backbone)
    arguments, (channels, side) = config.model.backbone, _image(config)
    name = public_name(str(arguments.get("_target_")))
    if name == "models.SmallMLP":
        return _product([channels * side * side, *arguments.get("hidden", (128, 128)), output_width])
    if name == "models.SmallConvNet":
        widths = [channels, *arguments.get("channels", (16, 32, 64))]
        sides = [math.ceil(side / 2**number) for number in range(len(widths) - 1)]
        maps = sum(9 * a * b * s * s for (a, b), s in zip(pairwise(widths), sides, strict=True))
        return float(maps + widths[-1] * output_width)
    maps, features = (_RESNET18, 512) if name == "models.ResNet18" else (_RESNET20, 64)
    return maps * (side / 32) ** 2 + features * output_width


def _image(config: "Config") -> tuple[int, int]:
    return _IMAGES.get(config.dataset.public_target or "", _IMAGES["cifar10"])


def _num_samples(config: "Config") -> int:
    dataset: Any = config.dataset
    if getattr(dataset, "num_samples", None):
        return int(dataset.num_samples)
    whole = _SAMPLES.get(dataset.public_target or "", _SAMPLES["cifar10"])
    per_class = getattr(dataset, "per_class", None)
    return whole if per_class is None else int(per_class) * (dataset.known_classes or 10)


def replicas_of(config: "Config") -> int:
    """The networks that one run trains: the product of the axes of `replicate`."""
    return math.prod(len(axis) if is_list(axis) else int(axis) for axis in config.replicate.values())


def _product(widths: list[int]) -> float:
    return float(sum(a * b for a, b in pairwise(widths)))


def _quota(root: Path) -> float:
    """CPUs that the control groups of this process grant it: quota / period, the least over their parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Inside a container the group is often mounted as the root, whatever its path outside: both are looked at.
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = Path(path.lstrip("/"))
        for folder in (mount / group, *(mount / parent for parent in group.parents), mount):
            least = min(least, _quota_in(folder))
    return least


def _quota_in(folder: Path) -> float:
    """`cpu.max` of version 2 ("max 100000" or "150000 100000"), or the two files of version 1 (quota -1: none)."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            return float(quota) / float(period) if quota not in ("max", "-1") else math.inf
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return math.inf
