"""What a user would write to train many DUFMs at once, for scripts/bench_dufm.py: JAX, and `torch.func`.

jax     `vmap` over the networks of `grad` of the objective, `jit` of a `fori_loop` over all steps of a turn
torch   `torch.func.vmap(grad)` of the same objective, one step under `torch.compile`

Both take the steps of the engines on the same problem (mse, ReLU, float32, heavy ball), in a process of their own on
the cores that it may use. Each is timed at the best number of networks of BATCHES. `python scripts/dufm_peers.py PEER K
L n WIDTH` says "ready NETWORKS RATE" and answers a number of steps on standard input with seconds; `Peer` speaks to it.

JAX comes with the dependency group `peers`: pip install --group peers.
"""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LR, MOMENTUM, DECAY, SCALE = 0.5, 0.9, 2e-3, 0.7
BATCHES = (16, 32, 64, 128)
TRIAL_SECONDS = 0.3  # of a batch, to find the best
Steps = Callable[[int], float]  # so many steps, in seconds


class Peer:
    """A peer in its own process; `seconds` trains for about so long and gives networks times steps a second."""

    def __init__(self, name: str, size: Sequence[int]) -> None:
        self.name = name
        command = [sys.executable, str(Path(__file__).resolve()), name, *map(str, size)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.networks, rate = map(float, self._answer().split()[1:])
        self._steps_per_second = rate / self.networks

    def seconds(self, seconds: float) -> float:
        """The rate of one turn."""
        steps = max(10, int(self._steps_per_second * seconds))
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        return self.networks * steps / float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer {self.name} ended without an answer")
        return line


def main() -> None:
    """Find the best number of networks, then train as many steps as each line of standard input says."""
    name, *size = sys.argv[1:]
    make: Callable[..., Steps] = {"jax": with_jax, "torch": with_torch}[name]
    tried: dict[int, tuple[float, Steps]] = {}
    for networks in BATCHES:
        advance = make(*map(int, size), networks)
        advance(10)  # compiled
        steps = max(10, int(10 * TRIAL_SECONDS / advance(10)))
        tried[networks] = networks * steps / min(advance(steps) for _ in range(2)), advance
    best = max(tried, key=lambda networks: tried[networks][0])
    print("ready", best, tried[best][0], flush=True)
    for line in sys.stdin:
        print(tried[best][1](int(line)), flush=True)


def initial_values(K: int, L: int, n: int, width: int, networks: int) -> list[Any]:
    """H_1 (networks, K n, width) and W_1 ... W_L with entries N(0, SCALE^2 / fan_in), as float32 arrays of numpy."""
    import numpy as np

    draw = np.random.default_rng(0).standard_normal
    shapes = [(K * n, width), *[(width, width)] * (L - 1), (K, width)]
    return [(draw((networks, *shape)) * SCALE / width**0.5).astype(np.float32) for shape in shapes]


def with_jax(K: int, L: int, n: int, width: int, networks: int) -> Steps:
    """`jax.vmap` of `jax.grad`, the steps of a turn in one `lax.fori_loop`, compiled as a whole."""
    jax: Any = importlib.import_module("jax")  # not among the packages that mypy sees
    jnp = jax.numpy
    targets = jnp.repeat(jnp.eye(K, dtype=jnp.float32), n, axis=0)

    def objective(parameters: list[Any]) -> Any:
        x, *Ws = parameters
        for W in Ws[:-1]:
            x = jax.nn.relu(x @ W.T)
        fit = ((x @ Ws[-1].T - targets) ** 2).sum() / (2 * K * n)
        return fit + DECAY / 2 * sum((p**2).sum() for p in parameters)

    gradient = jax.vmap(jax.grad(objective))

    def step(_: Any, state: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
        parameters, momenta = state
        momenta = [MOMENTUM * m + g for m, g in zip(momenta, gradient(parameters), strict=True)]
        return [p - LR * m for p, m in zip(parameters, momenta, strict=True)], momenta

    # The number of steps is an argument: compiled once.
    run = jax.jit(lambda steps, state: jax.lax.fori_loop(0, steps, step, state), donate_argnums=1)
    parameters = [jnp.asarray(p) for p in initial_values(K, L, n, width, networks)]
    state = parameters, [jnp.zeros_like(p) for p in parameters]

    def advance(steps: int) -> float:
        nonlocal state
        began = time.perf_counter()
        state = jax.block_until_ready(run(steps, state))
        return time.perf_counter() - began

    return advance


def with_torch(K: int, L: int, n: int, width: int, networks: int) -> Steps:
    """`torch.func.vmap` of `torch.func.grad`, a step at a time under `torch.compile`."""
    import torch

    targets = torch.eye(K).repeat_interleave(n, 0)

    def objective(parameters: list[torch.Tensor]) -> torch.Tensor:
        x, *Ws = parameters
        for W in Ws[:-1]:
            x = torch.relu(x @ W.T)
        fit = (x @ Ws[-1].T - targets).square().sum() / (2 * K * n)
        return fit + DECAY / 2 * torch.stack([p.square().sum() for p in parameters]).sum()

    gradient = torch.func.vmap(torch.func.grad(objective))

    def step(parameters: list[torch.Tensor], momenta: list[torch.Tensor]) -> None:
        for p, m, g in zip(parameters, momenta, gradient(parameters), strict=True):
            m.mul_(MOMENTUM).add_(g)
            p.sub_(LR * m)

    compiled = torch.compile(step)
    parameters = [torch.from_numpy(p) for p in initial_values(K, L, n, width, networks)]
    momenta = [torch.zeros_like(p) for p in parameters]

    def advance(steps: int) -> float:
        began = time.perf_counter()
        with torch.no_grad():
            for _ in range(steps):
                compiled(parameters, momenta)
        return time.perf_counter() - began

    return advance


if __name__ == "__main__":
    main()
