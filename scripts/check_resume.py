"""Kill a run with SIGKILL at random moments, resume it each time, and compare it with an uninterrupted run.

    python scripts/check_resume.py --kills 10 --work DIR +experiment=dufm_k10

Both runs use the same command but for their folder. Compared are the final checkpoint (weights, optimiser, counters;
bit by bit) and every table of records (every row, in order of its key; no key twice). Exit status 1 where anything
differs.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ncbench.records.folder import RunFolder
from ncbench.records.load import load_grams, load_means, load_measures, load_sample_grams, load_spectra
from ncbench.records.parts import last_step, parts
from ncbench.records.schema import CHECKPOINTS, LAST_CHECKPOINT, RUN, RUN_INFO, row_key

LOADERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "measures": load_measures,
    "spectra": load_spectra,
    "grams": load_grams,
    "means": load_means,
    "sample_grams": load_sample_grams,
}


def start(overrides: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The run's command, in its own process, without a bar."""
    command = [sys.executable, "-m", "ncbench.train", *overrides, f"hydra.run.dir={folder}", "trainer.progress=false"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_while_running(overrides: list[str], folder: Path, delay: float) -> bool:
    """Start or resume the run and kill it `delay` seconds after it says it is running; False if it ended before."""
    process = start(overrides, folder)
    before = RunFolder(folder).info().get("versions"), _stamp(folder)
    while process.poll() is None and _stamp(folder) == before[1]:
        time.sleep(0.01)
    time.sleep(delay)
    if process.poll() is not None:
        if process.returncode:
            raise SystemExit(process.stderr.read().decode() if process.stderr else "the run failed")
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def _stamp(folder: Path) -> int:
    path = folder / RUN_INFO
    return path.stat().st_mtime_ns if path.exists() else 0


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two finished runs, in words."""
    differing: list[str] = []
    states: list[Any] = [torch.load(f / CHECKPOINTS / LAST_CHECKPOINT, weights_only=True) for f in (first, second)]
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch", "ncbench_step"):
        if not _same(states[0].get(part), states[1].get(part)):
            differing.append(f"checkpoint: {part}")
    for name, load in LOADERS.items():
        key = row_key(name)
        a, b = (load(f).drop(columns=RUN).sort_values(key, ignore_index=True) for f in (first, second))
        if a.duplicated(key).any() or b.duplicated(key).any():
            differing.append(f"{name}: a row is there twice")
        try:
            pd.testing.assert_frame_equal(a, b, check_exact=True, check_categorical=False)
        except AssertionError as error:
            differing.append(f"{name}: {str(error).splitlines()[0]}")
    return differing


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def main() -> int:
    """Run the comparison and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the two runs")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    arguments, overrides = parser.parse_known_args()
    whole, killed = arguments.work / "whole", arguments.work / "killed"
    began = time.monotonic()
    if start(overrides, whole).wait():
        print("the uninterrupted run failed", file=sys.stderr)
        return 1
    wall = RunFolder(whole).info()["wall_seconds"]
    print(f"uninterrupted: {time.monotonic() - began:.0f} s, of which training {wall:.1f} s")
    moments = random.Random(arguments.seed)
    done = 0
    for _ in range(arguments.kills):
        delay = moments.uniform(0, 1.5 * wall / arguments.kills)
        if not kill_while_running(overrides, killed, delay):
            break
        done += 1
        recorded = parts(killed, "measures")
        at = last_step(recorded[-1]) if recorded else None
        print(f"kill {done}: {delay:5.2f} s after its start; last record at step {at}")
    status = start(overrides, killed).wait()
    differing = differences(whole, killed)
    steps = RunFolder(killed).info().get("steps")
    print(f"{done} kills, then exit status {status} at step {steps}; differences: {', '.join(differing) or 'none'}")
    return 1 if differing or status or done < arguments.kills else 0


if __name__ == "__main__":
    sys.exit(main())
