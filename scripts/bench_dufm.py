"""Training an ensemble of DUFMs: replica-steps per second against one network trained the usual ways, in turns.

engine   the steps alone, on every core, by the engine that `trainer.engine=auto` takes for this network
module   `FullBatchModule` in a Lightning Trainer, without measures or checkpoints: what Lightning costs around it
run      a whole run as `python -m ncbench.train` does it: default measures at the density of the default run (60 points
         in 20 000 steps), records, checkpoints
loop     (a) one network: autograd and torch.optim.SGD in a loop
lightning (b) the same network as an ordinary LightningModule, with logger, bar, summary and checkpoints off
jax, torch.func   with --peers: many networks at once as a user would write them (scripts/dufm_peers.py), in processes
         of their own on the same cores, at their best number of networks

Loss mse, ReLU, heavy ball, float32 everywhere. (a) and (b) take the better of one and two intra-op threads, rates_of
before the first turn. `of peak` is the products' rate as a share of a 2048-square product's on all cores.

python scripts/bench_dufm.py                              # as in docs/performance.md, under five minutes
python scripts/bench_dufm.py --rounds 1 --seconds 1       # quick
python scripts/bench_dufm.py --peers --cores 1 --sizes 1 2   # against JAX and torch.func on one core; needs jax
"""

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from dufm_peers import Peer
from torch import Tensor, nn

from ncbench.models.replica import DUFM
from ncbench.records.folder import RunFolder
from ncbench.run import execute as job
from ncbench.run.compose import compose_jobs
from ncbench.training import FullBatchModule
from ncbench.training.engines import descent, engine_of

LR, MOMENTUM, DECAY, SCALE = 0.5, 0.9, 2e-3, 0.7
DENSITY = 60 / 20_000  # measurements per step of the default run


@dataclass(frozen=True)
class Size:
    """K classes, L matrices, n samples per class, width; R replicas in the ensemble; what was asked for."""

    K: int
    L: int
    n: int
    width: int
    R: int
    at_least: float
    aim: float

    @property
    def labels(self) -> Tensor:
        return torch.arange(self.K).repeat_interleave(self.n)

    @property
    def flops(self) -> int:
        """Of the products of one step of one replica: forward, and twice that backward."""
        return 6 * self.K * self.n * ((self.L - 1) * self.width**2 + self.K * self.width)

    def network(self, replicas: int) -> DUFM:
        """The ensemble, with seeds 0, 1, ..."""
        return DUFM(
            depth=self.L,
            width=self.width,
            activation="relu",
            init_scale=SCALE,
            num_classes=self.K,
            num_samples=self.K * self.n,
            seeds=range(replicas),
        )


SIZES = [
    Size(10, 4, 5, 20, R=128, at_least=110, aim=140),
    Size(6, 4, 10, 20, R=128, at_least=100, aim=130),
    Size(10, 2, 5, 70, R=64, at_least=28, aim=35),
    Size(10, 4, 50, 64, R=32, at_least=3.1, aim=3.6),
]


def main() -> None:
    """Run the sides in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn, about; half for (a), (b) (default 4)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 3, 4], help="which of the four sizes")
    parser.add_argument("--cores", type=int, help="use the first so many cores (default: all that it may use)")
    parser.add_argument("--peers", action="store_true", help="also JAX and torch.func")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    warnings.filterwarnings("ignore")  # Lightning's advice on loaders
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print(f"{_cores()} cores, torch {torch.__version__}, medians of {options.rounds} turns of {options.seconds:g} s")
    for number in options.sizes:
        _compare(SIZES[number - 1], options.rounds, options.seconds, ("jax", "torch") if options.peers else ())


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _compare(size: Size, rounds: int, seconds: float, peer_names: Sequence[str]) -> None:
    labels, sides = size.labels, ("loop", "lightning")
    single: dict[str, Callable[[int], float]] = {"loop": partial(_loop, size), "lightning": partial(_lightning, size)}
    threads = {side: _better(single[side]) for side in sides}
    rates = {side: _at(threads[side], single[side], 100) for side in sides}
    steps = {side: max(50, int(rates[side] * seconds / 2)) for side in sides}
    fastest = max(_at(_cores(), partial(_engine, size, labels), 60) for _ in range(3))
    turn_steps = max(200, int(fastest / size.R * seconds) // 200 * 200)
    peers = {_PEER_NAMES[name]: Peer(name, (size.K, size.L, size.n, size.width)) for name in peer_names}
    rates_of: dict[str, list[float]] = {side: [] for side in ("engine", "module", "run", *sides, *peers)}
    peak: list[float] = []
    for _ in range(rounds):
        peak.append(_at(_cores(), _peak, 5))
        for side, trained in (("engine", partial(_engine, size, labels)), ("module", partial(_module, size, labels))):
            rates_of[side].append(_at(_cores(), trained, turn_steps))
        rates_of["run"].append(_run(size, turn_steps))
        for side in sides:
            rates_of[side].append(_at(threads[side], single[side], steps[side]))
        for side, peer in peers.items():
            rates_of[side].append(peer.seconds(seconds))
    rate = {side: statistics.median(turns) for side, turns in rates_of.items()}
    print(f"\nK = {size.K}, L = {size.L}, n = {size.n}, width {size.width}; R = {size.R}, {turn_steps} steps a turn")
    print(f"  {'':10}{'replica-steps/s':>16}{'lowest':>9}{'highest':>9}  of peak   x (a)   x (b)")
    for side, turns in rates_of.items():
        share = rate[side] * size.flops / statistics.median(peak)
        note = f"   {threads[side]} thread(s)" if side in threads else ""
        note = f"   R = {peers[side].networks:.0f}" if side in peers else note
        ratios = f"{rate[side] / rate['loop']:8.1f}{rate[side] / rate['lightning']:8.1f}"
        print(f"  {side:10}{rate[side]:16.0f}{min(turns):9.0f}{max(turns):9.0f}{100 * share:8.1f} %{ratios}{note}")
    paired = [
        statistics.median(a / b for a, b in zip(rates_of[x], rates_of["loop"], strict=True)) for x in ("run", "engine")
    ]
    asked = f"asked >= {size.at_least}, aim {size.aim}"
    print(f"  run / (a), median over the turns: {paired[0]:.1f} (engine / (a): {paired[1]:.1f}); {asked}")
    for side, peer in peers.items():
        peer.close()
        ratio = statistics.median(a / b for a, b in zip(rates_of["engine"], rates_of[side], strict=True))
        print(f"  engine / {side}, median over the turns: {ratio:.2f}")
    best = {side: max(turns) for side, turns in rates_of.items()}
    of_best = [best["run"] / best[side] for side in sides] + [best["engine"] / best["loop"]]
    print("  best turns: run / (a) {:.1f}, run / (b) {:.1f}, engine / (a) {:.1f}".format(*of_best))
    overhead = statistics.median(e / m for e, m in zip(rates_of["engine"], rates_of["module"], strict=True)) - 1
    print(f"  Lightning around the engine: {100 * overhead:.1f} %; peak {statistics.median(peak) / 1e9:.0f} GFLOP/s")


_PEER_NAMES = {"jax": "jax", "torch": "torch.func"}


def _better(side: Callable[[int], float]) -> int:
    """The faster of one thread and one per core, each tried twice."""
    return max((1, _cores()), key=lambda threads: max(_at(threads, side, 100) for _ in range(2)))


def _at(threads: int, side: Callable[[int], float], steps: int) -> float:
    torch.set_num_threads(threads)
    return side(steps)


def _peak(products: int) -> float:
    """Floating-point operations per second of the best of some 2048-square products."""
    a, b, c = (torch.randn(2048, 2048) for _ in range(3))
    return max(2 * 2048**3 / _seconds(lambda: torch.mm(a, b, out=c)) for _ in range(products))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _engine(size: Size, labels: Tensor, steps: int) -> float:
    network = size.network(size.R)
    steps_of = descent(
        engine_of("auto", network, torch.optim.SGD([torch.zeros(1)], lr=LR, momentum=MOMENTUM)),
        network,
        labels,
        loss="mse",
        weight_decays=torch.full((size.R, size.L), DECAY),
        feature_decays=torch.full((size.R,), DECAY),
        rates=torch.full((size.R,), LR),
        momentum=MOMENTUM,
    )
    momenta = [torch.zeros_like(p) for p in steps_of.parameters]
    steps_of.advance(3, momenta, torch.arange(size.R))  # threads start, libraries are loaded
    return size.R * steps / _seconds(lambda: steps_of.advance(steps, momenta, torch.arange(size.R)))


def _module(size: Size, labels: Tensor, steps: int) -> float:
    make = partial(torch.optim.SGD, lr=LR, momentum=MOMENTUM)
    problem: dict[str, Any] = {"loss": "mse", "optimizer": make}
    problem |= {"weight_decays": [[DECAY] * size.L] * size.R, "feature_decays": [DECAY] * size.R}
    module = FullBatchModule(network=size.network(size.R), labels=labels, steps=steps, **problem)
    return size.R * steps / _seconds(partial(_trainer(max_epochs=len(module.ends)).fit, module))


def _run(size: Size, steps: int) -> float:
    points = max(2, round(steps * DENSITY))
    overrides = ["+experiment=dufm_k10", f"replicate.seed={size.R}", f"schedule.steps={steps}"]
    overrides += [f"measure.points={points}", f"trainer.threads={_cores()}", "trainer.progress=false", "references=[]"]
    overrides += [f"model.depth={size.L}", f"model.width={size.width}"]
    overrides += [f"dataset.classes={size.K}", f"dataset.per_class={size.n}"]
    (composed,) = compose_jobs(overrides, multirun=False)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            job.execute(composed.config, Path(folder) / "run", command="bench")
        return float(RunFolder(Path(folder) / "run").info()["replica_steps_per_second"])


class _One(pl.LightningModule):
    """One network of the ensemble, the features its parameters; the objective as the paper writes it."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        start = [p.detach()[0].clone() for p in size.network(1).parameters()]
        self.matrices = nn.ParameterList(nn.Parameter(p) for p in start)
        self.targets = torch.eye(size.K)[size.labels]

    def fit_loss(self) -> Tensor:
        """1/(2N) ||f - Y||^2; the decay is the optimiser's."""
        x, *Ws = self.matrices
        for W in Ws[:-1]:
            x = torch.relu(x @ W.T)
        fit: Tensor = (x @ Ws[-1].T - self.targets).square().sum() / (2 * len(self.targets))
        return fit

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.fit_loss()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)


def _loop(size: Size, steps: int) -> float:
    network = _One(size)
    optimizer = network.configure_optimizers()

    def train() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(network.fit_loss())
            optimizer.step()

    return steps / _seconds(train)


class _Steps:
    """A loader of so many empty batches."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.steps))

    def __len__(self) -> int:
        return self.steps


def _lightning(size: Size, steps: int) -> float:
    return steps / _seconds(lambda: _trainer(max_epochs=1).fit(_One(size), _Steps(steps)))


def _trainer(max_epochs: int) -> pl.Trainer:
    off: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    return pl.Trainer(max_epochs=max_epochs, accelerator="cpu", enable_model_summary=False, **off)


if __name__ == "__main__":
    main()
