"""Backbones: images (B, C, H, W) -> features H_1 (B, output_width), for 1 or 3 channels, 8x8 to 32x32.

Every backbone ends in a linear map without an activation: the theory puts no sign constraint on H_1, and a
ReLU there would confine the class means to the positive orthant. Convolution kernels are kept channels_last,
which on a CPU makes training 2 to 3 times as fast when the images come so too (the data modules see to it).
No ReLU works in place, which would change what a hook on the layer before it has recorded.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

__all__ = ["ResNet20", "SmallConvNet", "SmallMLP"]


class SmallMLP(nn.Module):
    """Flattened pixels, hidden layers with ReLU and bias, a last linear layer to H_1.

    The default of two hidden layers of 128 is this project's, sized for the 8x8 digits.
    """

    def __init__(
        self, *, input_shape: tuple[int, int, int], output_width: int, hidden: Sequence[int] = (128, 128)
    ) -> None:
        super().__init__()
        C, H, W = input_shape
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden={list(hidden)} must be widths of at least 1")
        widths = [C * H * W, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(widths[-1], output_width)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.output(self.body(x))
        return features


class SmallConvNet(nn.Module):
    """3x3 convolutions with bias and ReLU, global average, linear layer to H_1.

    Every convolution after the first halves the image. No normalisation layers: every parameter is a weight
    or a bias, and train and evaluation mode agree. The convolutions start as in He et al. 2015 (N(0,
    2/fan_in)), which keeps the signal's size without normalisation.
    """

    def __init__(
        self, *, input_shape: tuple[int, int, int], output_width: int, channels: Sequence[int] = (16, 32, 64)
    ) -> None:
        super().__init__()
        widths = [input_shape[0], *channels]
        layers: list[nn.Module] = []
        for number, (fan_in, fan_out) in enumerate(pairwise(widths)):
            conv = nn.Conv2d(fan_in, fan_out, 3, stride=2 if number else 1, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            layers += [conv, nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(widths[-1], output_width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.output(self.body(x))
        return features


class ResNet20(nn.Module):
    """The 20-layer residual network for CIFAR (He et al. 2016, CVPR, Section 4.2), with a linear map to H_1.

    A 3x3 stem with 16 channels, three stages of three basic blocks with 16, 32, 64 channels, the image halved
    at stages 2 and 3, shortcuts without parameters (the paper's option A), batch normalisation, global
    average to 64 non-negative numbers, then nn.Linear(64, output_width): with output_width = 10 and 3
    channels that is the paper's network, 269 722 parameters. Convolutions have no bias and start as N(0,
    2/fan_out) (He et al. 2015).
    """

    def __init__(self, *, input_shape: tuple[int, int, int], output_width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.stage1 = _stage(16, 16, stride=1)
        self.stage2 = _stage(16, 32, stride=2)
        self.stage3 = _stage(32, 64, stride=2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(64, output_width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        features: Tensor = self.output(self.pool(x))
        return features


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = _BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(_BasicBlock(channels, channels, 1) for _ in range(2)))


class _BasicBlock(nn.Module):
    """relu(x' + bn(conv(relu(bn(conv(x)))))); x' is x, where the size changes every second pixel of it
    with zero channels added on both sides (option A)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.stride = stride
        self.added = channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.added:
            half = self.added // 2
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))
        out: Tensor = self.relu2(y + x)
        return out
