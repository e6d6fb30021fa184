"""What a second thread brings, and what `trainer.threads=null` costs on a busy machine.

steps    time of a gradient step on one thread over that on two, for networks and ensembles of several sizes, with the
         multiply-adds by which `ncbench.config.cores` decides; medians of several turns, in turns
command  the whole command `digits_mlp` for 15 epochs: by default, and with every number of threads; medians over
         interleaved turns, and the median of the turns' ratios of the default to the best

`--beside 2` starts two processes that never rest beside it.

python scripts/bench_threads.py steps              # the table in ncbench/config/cores.py
python scripts/bench_threads.py command --beside 2   # as in docs/performance.md
"""

import argparse
import contextlib
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ncbench.config.cores import available_cores, cores_of_network, multiply_adds
from ncbench.config.root import Config
from ncbench.run.compose import compose_jobs

MLP, RESNET, DUFM = (
    "+experiment=digits_mlp",
    "+experiment=cifar_resnet20_quick",
    "+experiment=dufm_k10 trainer.threads=null",
)
SIZES = (
    MLP,
    f"{MLP} model=convnet dataset.batch_size=32",
    f"{MLP} model=convnet",
    RESNET,
    f"{MLP} model.width=256 model.backbone.hidden=[512,512]",
    f"{RESNET} dataset.batch_size=170",
    f"{MLP} model.width=1024 model.backbone.hidden=[1024,1024]",
    f"{DUFM} replicate.seed=10",
    f"{DUFM} replicate.seed=60",
    f"{DUFM} replicate.seed=100",
    f"{DUFM} replicate.seed=100 optimizer=adam",
    f"{DUFM} replicate.seed=10 optimizer=lbfgs",
    f"{DUFM} replicate.seed=100 optimizer=lbfgs",
    "+experiment=zangrando24/fig1_blobs_quick",
)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("steps", "command"))
    parser.add_argument("--beside", type=int, default=0, metavar="N", help="busy processes beside it")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15, help="of digits_mlp (command)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn (steps)")
    arguments = parser.parse_args()
    with never_resting(arguments.beside):
        if arguments.what == "steps":
            steps(arguments.turns, arguments.seconds)
        else:
            command(arguments.turns, arguments.epochs)


@contextlib.contextmanager
def never_resting(processes: int) -> Iterator[None]:
    """So many busy processes beside what is measured."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def steps(turns: int, seconds: float) -> None:
    """One line per size: multiply-adds, milliseconds on one thread, one over two, and the threads chosen."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print(f"{'multiply-adds':>13}  {'ms on 1':>8}  {'1 / 2':>5}  chosen  what")
    for line in SIZES:
        (job,) = compose_jobs([*line.split(), "measure.points=2", "trainer.progress=false"], multirun=False)
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(turns):
            for threads, found in times.items():
                found.append(_seconds_of_step(job.config, threads, seconds))
        one, two = (statistics.median(found) for found in times.values())
        size, cores = multiply_adds(job.config), cores_of_network(job.config)
        print(
            f"{size:13.2g}  {one * 1e3:8.3f}  {one / two:5.2f}  {cores:6d}  {line.replace('+experiment=', '')}",
            flush=True,
        )


def _seconds_of_step(config: Config, threads: int, seconds: float) -> float:
    """Of one gradient step, without measuring; a full-batch problem by its blocks."""
    import torch

    from ncbench.run.build import build

    torch.set_num_threads(threads)
    built = build(config)
    module: Any = built.module
    if config.model.full_batch:
        return _seconds_of_block(module, seconds)
    made = module.configure_optimizers()
    optimizer = made["optimizer"] if isinstance(made, dict) else made
    found: list[float] = []
    while sum(found) < seconds:
        for batch in built.data.train_dataloader():
            began = time.perf_counter()
            optimizer.zero_grad()
            module.training_step(batch, 0).backward()
            optimizer.step()
            found.append(time.perf_counter() - began)
    return statistics.median(found)


def _seconds_of_block(module: Any, seconds: float) -> float:
    import pytorch_lightning as pl

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = time.perf_counter() - began > seconds

    module.ends = sorted({*range(50, module.steps, 50), module.steps})
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", callbacks=[Stop()], enable_model_summary=False, max_epochs=-1, **silent)
    began = time.perf_counter()
    trainer.fit(module)
    return (time.perf_counter() - began) / int(module.gd_step)


def command(turns: int, epochs: int) -> None:
    """Seconds of the whole command by the number of threads, in turns; null is the default."""
    choices = ["null", *map(str, range(1, available_cores() + 1))]
    found: dict[str, list[float]] = {choice: [] for choice in choices}
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    for turn in range(turns):
        for choice in choices if turn % 2 == 0 else choices[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                overrides = [MLP, f"trainer.max_epochs={epochs}", f"trainer.threads={choice}", "trainer.progress=false"]
                line = [sys.executable, "-m", "ncbench.train", *overrides, f"hydra.run.dir={Path(folder) / 'run'}"]
                began = time.perf_counter()
                subprocess.run(line, check=True, capture_output=True, env=environment)
                found[choice].append(time.perf_counter() - began)
        print(f"turn {turn + 1}: " + ", ".join(f"{c} {found[c][-1]:.1f} s" for c in choices), flush=True)
    medians = {choice: statistics.median(times) for choice, times in found.items()}
    for choice, median in medians.items():
        print(f"trainer.threads={choice:4}  {median:6.1f} s  [{min(found[choice]):.1f}, {max(found[choice]):.1f}]")
    by_turn = [null / min(others) for null, *others in zip(*found.values(), strict=True)]
    print(f"default / best, median over the turns: {statistics.median(by_turn):.2f}; asked <= 1.3")


if __name__ == "__main__":
    main()
