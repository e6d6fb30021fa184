"""Several seeds of a small network: one after another, or all at once with torch.func.vmap over stacked parameters.

Both take the same SGD steps on the same batch from the same weights, in turns; the losses of all seeds are compared
afterwards. vmap makes one batched product of the seeds' products, and of their convolutions a grouped one.

    python scripts/bench_seeds.py [--seeds 4] [--device cuda] [--networks mlp convnet resnet20]
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from ncbench.models import BackboneWithHead, ResNet20, SmallConvNet, SmallMLP

SHAPES = {"mlp": (SmallMLP, (1, 8, 8)), "convnet": (SmallConvNet, (3, 32, 32)), "resnet20": (ResNet20, (3, 32, 32))}
RATE = 0.01


def main() -> None:
    """Milliseconds of a step of all seeds, both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="of a turn (default 5)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    where = f"{options.device}, torch {torch.__version__}"
    print(f"ms of a step: {options.seeds} seeds, batches of {options.batch}, {where}")
    for name in options.networks:
        compare(name, options)


def compare(name: str, options: Any) -> None:
    """One network: both sides in turns, and whether they trained the same."""
    backbone, shape = SHAPES[name]
    make = partial(BackboneWithHead, depth=4, width=64, backbone=backbone, input_shape=shape, num_classes=10)
    networks: list[nn.Module] = [make(seed=seed).to(options.device) for seed in range(options.seeds)]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.batch, *shape, generator=generator).to(options.device, memory_format=torch.channels_last)
    y = (torch.arange(options.batch) % 10).to(options.device)
    sides = {"alone": Alone(copy.deepcopy(networks), x, y).step, "vmap": AtOnce(copy.deepcopy(networks), x, y).step}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    losses = {}
    for turn in range(options.turns + 1):
        for side, step in sides.items():
            taken, losses[side] = timed(step, options)
            if turn:
                seconds[side].append(1000 * taken / options.steps)
    medians = {side: statistics.median(found) for side, found in seconds.items()}
    gap = float(((losses["alone"] - losses["vmap"]).abs() / losses["alone"]).max())
    speed = statistics.median(a / b for a, b in zip(seconds["alone"], seconds["vmap"], strict=True))
    found = "".join(f"{side} {medians[side]:8.1f}   " for side in sides)
    print(f"  {name:10}{found}{speed:5.2f} times   largest relative difference of a loss {gap:.0e}")


def timed(step: Callable[[], Tensor], options: Any) -> tuple[float, Tensor]:
    """Seconds of the steps of a turn (CPU time on a CPU, beside other work perhaps), and the losses of the last."""
    cuda = torch.device(options.device).type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    began = clock()
    for _ in range(options.steps):
        losses = step()
    if cuda:
        torch.cuda.synchronize()
    return clock() - began, losses.cpu()


class Alone:
    """One network after another."""

    def __init__(self, networks: list[nn.Module], x: Tensor, y: Tensor) -> None:
        self.networks, self.x, self.y = networks, x, y
        self.optimizers = [torch.optim.SGD(network.parameters(), lr=RATE) for network in networks]

    def step(self) -> Tensor:
        """The losses (R,) before it."""
        losses = []
        for network, optimizer in zip(self.networks, self.optimizers, strict=True):
            optimizer.zero_grad()
            loss = loss_of(network(self.x), self.y)
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)


class AtOnce:
    """Parameters and buffers with a leading axis of seeds."""

    def __init__(self, networks: list[nn.Module], x: Tensor, y: Tensor) -> None:
        self.parameters, self.buffers = stack_module_state(networks)
        self.x, self.y = x, y
        base = copy.deepcopy(networks[0]).to("meta")

        def loss(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> Tensor:
            return loss_of(functional_call(base, (dict(parameters), dict(buffers)), (x,)), y)

        self.gradients = vmap(grad_and_value(loss))

    def step(self) -> Tensor:
        """The losses (R,) before it."""
        gradients, losses = self.gradients(self.parameters, self.buffers)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.sub_(gradients[name], alpha=RATE)
        found: Tensor = losses.detach()
        return found


def loss_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """1/(2b) sum ||f - e_y||^2."""
    return (outputs - torch.eye(10, device=outputs.device)[labels]).square().sum(1).mean() / 2


if __name__ == "__main__":
    main()
