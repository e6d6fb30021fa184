"""Residual networks for small images: (B, C, H, W) -> (B, output_width), whole with output_width = K, or as a backbone.

Both start with a 3x3 convolution that keeps the size and have no pooling before the stages; every block is relu(x' +
bn(conv3x3(relu(bn(conv3x3(x)))))). As the small backbones (see `backbones`) they end in a linear map without an
activation, and no ReLU works in place. The input of that map, `output`, is the global average of what a ReLU gave, so
its 64 or 512 numbers are not negative.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ncbench.models.widths import image_channels

__all__ = ["ResNet18", "ResNet20"]

Shortcut = Callable[[int, int, int], nn.Module]


class ResNet20(nn.Module):
    """The 20-layer residual network for CIFAR (He et al. 2016, CVPR, Section 4.2), with a linear map to H_1.

    A 3x3 stem with 16 channels, three stages of three basic blocks with 16, 32, 64 channels, the image halved
    at stages 2 and 3, shortcuts without parameters (the paper's option A), batch normalisation, global
    average to 64 non-negative numbers, then nn.Linear(64, output_width): with output_width = 10 and 3
    channels that is the paper's network, 269 722 parameters. Convolutions have no bias and start as N(0,
    2/fan_out) (He et al. 2015), times `kernel_scale`. `bias` is that of the linear map.

    Batch normalisation makes the function that the network starts as independent of `kernel_scale` s; a step of
    gradient descent turns a kernel by an angle that goes with 1/s^2. With s < 1 the kernels learn faster than what has
    no normalisation behind it, the linear map and a head, until they have grown. ValueError unless s > 0.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        output_width: int,
        bias: bool = True,
        kernel_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.stem = _stem(image_channels(input_shape), 16)
        self.stage1 = _stage(16, 16, stride=1, blocks=3, shortcut=_Padded)
        self.stage2 = _stage(16, 32, stride=2, blocks=3, shortcut=_Padded)
        self.stage3 = _stage(32, 64, stride=2, blocks=3, shortcut=_Padded)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(64, output_width, bias=bias)
        _initialise(self, kernel_scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        features: Tensor = self.output(self.pool(x))
        return features


class ResNet18(nn.Module):
    """The 18-layer residual network in the form for CIFAR that the literature on neural collapse trains.

    He et al. 2016, Table 1, with a 3x3 stem of stride 1 and without the max-pooling, as 32x32 images need it: 64
    channels, four stages of two basic blocks with 64, 128, 256, 512 channels, the image halved at stages 2 to 4,
    shortcuts of 1x1 convolutions with batch normalisation where the size changes (option B), global average to 512
    non-negative numbers, then nn.Linear(512, output_width): 11 173 962 parameters with output_width = 10 and 3
    channels. Initialised as ResNet20 here is, and `kernel_scale` and `bias` are as there.

    ValueError for inputs that are no images (C, H, W), and unless kernel_scale > 0.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        output_width: int,
        bias: bool = True,
        kernel_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.stem = _stem(image_channels(input_shape), 64)
        self.stage1 = _stage(64, 64, stride=1, blocks=2, shortcut=_projected)
        self.stage2 = _stage(64, 128, stride=2, blocks=2, shortcut=_projected)
        self.stage3 = _stage(128, 256, stride=2, blocks=2, shortcut=_projected)
        self.stage4 = _stage(256, 512, stride=2, blocks=2, shortcut=_projected)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(512, output_width, bias=bias)
        _initialise(self, kernel_scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        features: Tensor = self.output(self.pool(x))
        return features


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


def _stage(in_channels: int, channels: int, *, stride: int, blocks: int, shortcut: Shortcut) -> nn.Sequential:
    first = _BasicBlock(in_channels, channels, stride, shortcut)
    return nn.Sequential(first, *(_BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)))


def _initialise(network: nn.Module, kernel_scale: float) -> None:
    if not (math.isfinite(kernel_scale) and kernel_scale > 0):
        raise ValueError(f"kernel_scale={kernel_scale} must be a number > 0")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            with torch.no_grad():
                module.weight.mul_(kernel_scale)
    network.to(memory_format=torch.channels_last)


class _BasicBlock(nn.Module):
    """relu(x' + bn(conv(relu(bn(conv(x)))))); x' is x, or its shortcut where the size changes."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.shortcut = shortcut(in_channels, channels, stride) if in_channels != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(y + self.shortcut(x))
        return out


class _Padded(nn.Module):
    """Every second pixel of x, with zero channels added on both sides (option A of He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        half = self.added // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))


def _projected(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """A 1x1 convolution with batch normalisation (option B)."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))
