"""Networks as users write them: activation, pooling and flattening as functions, other names, other conventions."""

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Functional(nn.Module):
    """relu, pooling and flattening are functions; `num_classes` and `in_channels` are asked for by name."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 16, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(width, num_classes, bias=bias)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(F.relu(self.norm(self.conv(x))), 1).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.features(x)))


def create_model(model_name: str, pretrained: bool = False, **kwargs: int) -> nn.Module:
    """As timm.create_model: the number of classes and of channels are hidden behind **kwargs."""
    assert (model_name, pretrained) == ("little", False)
    return Functional(kwargs["in_chans"], kwargs.get("num_classes", 1000))


class Lazy(nn.Module):
    """A network whose last layer has its width from the first batch, and which returns a mapping."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(12), nn.ReLU())
        self.last = nn.Linear(12, num_classes)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.body(x)
        return {"hidden": hidden, "logits": self.last(hidden)}


class OwnLoss(Functional):
    """Gives the logits in evaluation mode, and in training mode a number to be made small."""

    def forward(self, x: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        logits = super().forward(x)
        return {"loss": logits.square().mean()} if self.training else logits


class Called(nn.Module):
    """Linear layers without bias: `how` says in which way `last`, the classifier, is called. `spare` never is.

    plain: last(h); keyword: last(input=h); function: F.linear(h, last.weight); scaled: 3 last(h);
    aside: last(h), and then aside(h), an auxiliary head that is registered behind it.
    """

    def __init__(self, num_classes: int, how: str = "plain", width: int = 6) -> None:
        super().__init__()
        self.body = nn.Linear(64, width, bias=False)
        self.last = nn.Linear(width, num_classes, bias=False)
        self.aside = nn.Linear(width, num_classes, bias=False)
        self.spare = nn.Linear(width, num_classes, bias=False)
        self.how = how

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x.flatten(1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        h = self.features(x)
        if self.how == "keyword":
            return self.last(input=h)
        if self.how == "function":
            return F.linear(h, self.last.weight)
        if self.how == "aside":
            return self.last(h), self.aside(h)
        return 3 * self.last(h) if self.how == "scaled" else self.last(h)


class Tokens(nn.Module):
    """A linear classifier of each of eight rows, without bias, and the mean of what it says of them."""

    def __init__(self, num_classes: int, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.fc = nn.Linear(width, num_classes, bias=False)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.embed(x[:, 0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x)).mean(1)


class Views(nn.Module):
    """A LeNet as old tutorials have it: x.view needs rows that are contiguous."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.fc = nn.Linear(width * 16, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(maps.view(x.size(0), -1))


class ViewingBackbone(Views):
    """The same as a backbone of 8 x 8 images."""

    def __init__(self, input_shape: tuple[int, ...], output_width: int) -> None:
        super().__init__(input_shape[0], output_width)


class Wired(nn.Module):
    """Its weights are NumPy's draws, the inputs that it sees are Python's."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.seen = random.sample(range(64), 32)
        draws = np.random.randn(16, 32) / 32**0.5  # noqa: NPY002 - the generator that everybody draws from
        self.first = nn.Parameter(torch.from_numpy(draws).float())
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(x.flatten(1)[:, self.seen] @ self.first.T))


class Again(nn.Module):
    """The same classifier after each of three steps; the last is the output."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.step = nn.Linear(64, 16), nn.Linear(16, 16)
        self.fc = nn.Linear(16, num_classes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, outputs = F.relu(self.first(x.flatten(1))), []
        for _ in range(3):
            hidden = F.relu(self.step(hidden))
            outputs.append(self.fc(hidden))
        return outputs[-1]


class Normed(nn.Module):
    """Its classifier's weight is g v/||v||."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(16, num_classes, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(self.first(x.flatten(1))))


class Narrow(nn.Module):
    """A backbone that gives half of the width that it is asked for."""

    def __init__(self, input_shape: tuple[int, ...], output_width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(64, output_width // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.flatten(1))


class Held(nn.Module):
    """`fc` under two names (how=shared), or its matrix (tied); `unused` gets no gradient; `add` is empty."""

    def __init__(self, num_classes: int, how: str = "shared", unused: bool = False) -> None:
        super().__init__()
        self.add = nn.Sequential()
        first = nn.Linear(64, 12)
        classifier = nn.Linear(12, num_classes, bias=False)
        if how == "shared":
            self.net = nn.Sequential(first, nn.ReLU(), classifier)
        else:
            self.net = nn.Sequential(first, nn.ReLU())
            self.proj = nn.Linear(12, num_classes, bias=False)
            classifier.weight = self.proj.weight
        self.fc = classifier
        if unused:
            self.unused = nn.Linear(30, 30)

    def forward(self, x: Tensor) -> Tensor:
        x = self.net[:2](self.add(x).flatten(1))
        return self.fc(x)


class Turned(nn.Module):
    """With a complex parameter and a complex buffer, between a real input and a real classifier."""

    phase: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.randn(64, 12, dtype=torch.cfloat) / 8)
        self.register_buffer("phase", torch.exp(1j * torch.arange(12.0)))
        self.fc = nn.Linear(12, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((torch.fft.fft(x.flatten(1)) @ self.turn * self.phase).abs())


def compiled(num_classes: int, how: str = "whole") -> nn.Module:
    """A network that torch.compile has wrapped, or a part of it, or that is compiled in place."""
    network = Held(num_classes)
    if how == "whole":
        return torch.compile(network, backend="eager")  # type: ignore[return-value]
    if how == "part":
        network.net = torch.compile(network.net, backend="eager")
    else:
        network.fc.compile(backend="eager")
    return network


class Uneven(nn.Module):
    """A backbone that forgets to flatten: its output is (B, 1, width)."""

    def __init__(self, input_shape: tuple[int, ...], output_width: int) -> None:
        super().__init__()
        self.map = nn.Linear(input_shape[-1] * input_shape[-2], output_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.flatten(2))


def largest(matrix: Tensor) -> Tensor:
    """The largest entry, found in place: the matrix is centred."""
    matrix -= matrix.mean(-2, keepdim=True)
    return matrix.amax((-2, -1))
