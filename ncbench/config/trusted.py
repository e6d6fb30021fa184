"""What the configuration of a run folder may name: the folder may be somebody else's, and a `_target_` is called.

A command line and the files of `--config-dir` are code of the user's own, and may name any class. The config.yaml of a
folder that is read (`load_run`, measure, rerun, verify) may name what stands below, at any depth of it; what else it
names is allowed by the person who reads it, package by package (`--trust PACKAGE`).
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ncbench.config.root import CLAIMED, VARIANTS, Config
from ncbench.config.validate import validate_recorded
from ncbench.config.variants import Target

__all__ = ["check_trust", "read_recorded"]

_ROOMS = ("core", "theory", "models")  # of this package: functions of tensors and numbers, and networks
_SGD = "SGD Adam AdamW Adadelta Adafactor Adagrad Adamax ASGD LBFGS NAdam RAdam RMSprop Rprop"
_RATES = (
    "ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR LinearLR MultiStepLR OneCycleLR "
    "PolynomialLR ReduceLROnPlateau SequentialLR StepLR"
)
_LAYERS = (
    "AdaptiveAvgPool2d AvgPool2d BatchNorm1d BatchNorm2d Conv1d Conv2d Dropout Embedding Flatten GroupNorm Identity "
    "LayerNorm Linear MaxPool2d Sequential CELU ELU GELU Hardswish Hardtanh LeakyReLU Mish PReLU ReLU ReLU6 SELU SiLU "
    "Sigmoid Softmax Softplus Tanh"
)
_TRANSFORMS = (
    "AugMix AutoAugment CenterCrop ColorJitter Compose ConvertImageDtype ElasticTransform GaussianBlur Grayscale "
    "Normalize PILToTensor Pad RandAugment RandomAdjustSharpness RandomAffine RandomApply RandomAutocontrast "
    "RandomChoice RandomCrop RandomEqualize RandomErasing RandomGrayscale RandomHorizontalFlip RandomInvert "
    "RandomOrder RandomPerspective RandomPosterize RandomResizedCrop RandomRotation RandomSolarize RandomVerticalFlip "
    "Resize ToDtype ToImage ToPILImage ToTensor TrivialAugmentWide"
)
_FAMILIES = (
    "alexnet|convnext|densenet|efficientnet|googlenet|inception|maxvit|mnasnet|mobilenet|regnet|resnet|resnext|"
    "shufflenet|squeezenet|swin|vgg|vit|wide_resnet"
)
# Of other packages: classes and functions of numbers, tensors and pictures, by the module in which they are looked up.
_OF_OTHERS: Mapping[str, str] = {
    "torch.optim": _SGD,
    "torch.optim.lr_scheduler": _RATES,
    "torch.nn": _LAYERS,
    "torch.utils.data": "ConcatDataset Subset TensorDataset",
    "torch": "arange load ones tensor zeros",
    "torchvision.transforms": _TRANSFORMS,
    "torchvision.transforms.v2": _TRANSFORMS,
    "torchvision.datasets": "CIFAR10 CIFAR100 DatasetFolder FakeData FashionMNIST ImageFolder KMNIST MNIST",
    "timm": "create_model",
}
_MODEL_OF_TORCHVISION = re.compile(rf"torchvision\.models\.({_FAMILIES})\w*")


def read_recorded(values: Mapping[str, Any], trust: Iterable[str] = ()) -> Config:
    """The configuration of a run folder, with nothing in it that would run code or look at this machine.

    Data is not downloaded into a folder that it names. `trust` are packages whose classes and functions it may name
    beside the known ones. ValueError of one line (key, value, rule) for an interpolation, for a `_target_` that is not
    allowed, and where the configuration is not valid.
    """
    packages = check_trust(trust)
    if not isinstance(values, Mapping):
        raise ValueError(f"the configuration is {_short(values)}: it must be a mapping of keys")
    _check_resolved({key: value for key, value in values.items() if key not in CLAIMED})
    config = validate_recorded(values)
    for name in VARIANTS:
        group = getattr(config, name)
        known = isinstance(group, Target) and group.public_target is not None
        _check_targets({k: v for k, v in group.plain().items() if not (known and k == "_target_")}, name, packages)
    for line in config.references:
        _check_targets(line, f"references.{line['name']}", packages)
    return _without_download(config)


def _without_download(config: Config) -> Config:
    """The configuration, which fetches no data into a folder that it names itself: that may be any of this machine."""
    dataset: Any = config.dataset
    if getattr(dataset, "root", None) is None or not getattr(dataset, "download", False):
        return config
    return replace(config, dataset=replace(dataset, download=False))


def check_trust(trust: Iterable[str]) -> tuple[str, ...]:
    """The packages to be trusted; ValueError of one line where one is no name of a package or module."""
    packages = (trust,) if isinstance(trust, str) else tuple(trust)
    for package in packages:
        if not all(part.isidentifier() for part in str(package).split(".")):
            raise ValueError(f"trust={package}: must be the name of a package or module, such as mynet")
    return packages


def _check_resolved(values: Any, key: str = "") -> None:
    """ValueError of one line for an interpolation in the configuration of somebody else's run.

    What Hydra would put in its place is of this machine, such as a variable of its environment.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            _check_resolved(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list):
        for value in values:
            _check_resolved(value, key)
    elif isinstance(values, str) and "${" in values:
        raise ValueError(f"{key}={_short(values)}: must be a value; interpolations of a recorded run are not followed")


def _check_targets(values: Any, key: str, trust: tuple[str, ...]) -> None:
    """ValueError of one line for the first `_target_` in nested values that may not be called."""
    for where, named in _named(values, key):
        target = named["_target_"]
        if not isinstance(target, str):
            raise ValueError(f"{where}._target_={_short(target)}: must be the name of a class or function")
        if any(target == package or target.startswith(f"{package}.") for package in trust):
            continue
        package = target.partition(".")[0]
        how = f'; if you trust it: --trust {package}, or load_run(..., trust=("{package}",))'
        if not _is_known(target):
            rule = "is none of the classes and functions that a run folder may name"
            raise ValueError(f"{where}._target_={_short(target)}: {rule}{how}")
        for argument, value in named.items():
            if not _harmless(target, str(argument), value):
                raise ValueError(
                    f"{where}.{argument}={_short(value)}: is no argument that a run folder may give to {target}{how}"
                )


def _named(values: Any, key: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The mappings with a `_target_` in nested values, each with its dotted key."""
    if isinstance(values, Mapping):
        if "_target_" in values:
            yield key, values
        for name, part in values.items():
            yield from _named(part, f"{key}.{name}")
    elif isinstance(values, list | tuple):
        for place, part in enumerate(values):
            yield from _named(part, f"{key}[{place}]")


def _is_known(target: str) -> bool:
    module, _, name = target.rpartition(".")
    if re.fullmatch(r"torch\.optim\.(?!lr_scheduler)[a-z_]+", module):
        module = "torch.optim"  # torch.optim.sgd.SGD, as a record may have it
    if name in _OF_OTHERS.get(module, "").split() or _MODEL_OF_TORCHVISION.fullmatch(target):
        return True
    package, *rooms = module.split(".")
    ours = package == "ncbench" and rooms[:1] in [[room] for room in _ROOMS] and all(map(str.isidentifier, rooms))
    place = Path(__file__).parents[1].joinpath(*rooms)
    return ours and (place.is_dir() or place.with_suffix(".py").is_file()) and name in _defined_in(rooms[0])


@cache
def _defined_in(room: str) -> frozenset[str]:
    """The public classes and functions that the modules of a room of ours define.

    Read from the source, so that nothing is imported, and what a module has imported is not among them.
    """
    defined = (
        node.name
        for source in (Path(__file__).parents[1] / room).rglob("*.py")
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    )
    return frozenset(name for name in defined if not name.startswith("_"))


def _harmless(target: str, argument: str, value: Any) -> bool:
    """Whether an argument makes a known function neither unpickle a file nor fetch one."""
    if target.startswith("torchvision.datasets."):
        return argument not in ("_args_", "download") or not value
    if target == "torch.load":  # with its own default, weights_only=True
        return argument in ("_target_", "_partial_", "f")
    if target == "timm.create_model":
        if argument == "model_name":  # not hf-hub:somebody/anything
            return isinstance(value, str) and re.fullmatch(r"[\w.]+", value) is not None
        return argument != "_args_" and (not argument.startswith(("pretrained", "checkpoint", "cache")) or not value)
    if _MODEL_OF_TORCHVISION.fullmatch(target):
        return argument != "_args_" and (argument not in ("weights", "weights_backbone", "pretrained") or not value)
    return True


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
