"""Small backbones: images (B, C, H, W) -> features H_1 (B, output_width), for 1 or 3 channels, 8x8 to 32x32.

Every backbone ends in a linear map without an activation: the theory puts no sign constraint on H_1, and a
ReLU there would confine the class means to the positive orthant. Convolution kernels are kept channels_last,
which on a CPU makes training 2 to 3 times as fast when the images come so too (the data modules see to it).
No ReLU works in place, which would change what a hook on the layer before it has recorded. With output_width = K any of
them is a whole network, its last linear map the classifier. The residual networks stand in `resnets`, under these names
too: recorded configurations call them `ncbench.models.backbones.ResNet20`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ncbench.models.resnets import ResNet18, ResNet20
from ncbench.models.widths import check_widths, image_channels

__all__ = ["ResNet18", "ResNet20", "SmallConvNet", "SmallMLP"]


class SmallMLP(nn.Module):
    """Flattened inputs (of any shape), hidden layers with ReLU and bias, a last linear layer to H_1.

    The default of two hidden layers of 128 is this project's, sized for the 8x8 digits.

    ValueError for a hidden width below 1.
    """

    def __init__(self, *, input_shape: tuple[int, ...], output_width: int, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        check_widths("hidden", hidden)
        widths = [math.prod(input_shape), *hidden]
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

    ValueError for inputs that are no images (C, H, W), and for a number of channels below 1.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], output_width: int, channels: Sequence[int] = (16, 32, 64)
    ) -> None:
        super().__init__()
        check_widths("channels", channels)
        widths = [image_channels(input_shape), *channels]
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
