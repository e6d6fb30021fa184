"""The same bits in every way of running: digests of an ensemble's weights after 20 000 steps, for three problems.

    python scripts/check_digests.py                    all, about ten minutes on one core, most of it without fma
    python scripts/check_digests.py --steps 200        the same, quick

The problems are `dufm_k10` (mse, float32, 64 networks), the same with cross-entropy, and with float64. Each is trained
once, and then again for other processors (NUMBA_CPU_NAME), with two threads, measured at other steps (so that the
stretches between measurements are others), as one network alone, and killed by SIGKILL and resumed. Compared are the
`replica_digests` of run.json: the first of every run against the first of the reference. The code for a processor
without fma calls a function for each multiply-add, and trains two networks only. Exit status 1 where any differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TRAIN = [sys.executable, "-m", "ncbench.train", "+experiment=dufm_k10", "references=[]", "trainer.progress=false"]
PROBLEMS = {
    "mse, float32": [],
    "cross-entropy, float32": ["objective.loss=ce", "optimizer.lr=0.1"],
    "mse, float64": ["trainer.precision=64"],
}
HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
SKYLAKE = {
    "NUMBA_CPU_NAME": "skylake-avx512",
    "NUMBA_CPU_FEATURES": "+avx512f,+avx512vl,+avx512dq,+avx2,+fma",
}


@dataclass(frozen=True)
class Way:
    """One way of running: its networks, further overrides, variables of the environment, and whether it is killed."""

    replicas: int = 64
    overrides: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    killed: bool = False


WAYS = {
    "two threads": Way(overrides=("trainer.threads=2",)),
    "measured at 40 steps": Way(overrides=("measure.points=40",)),
    "one network alone": Way(replicas=1),
    "killed and resumed": Way(overrides=("trainer.checkpoint_seconds=0",), killed=True),
    "haswell": Way(environment=HASWELL),
    "skylake-avx512": Way(environment=SKYLAKE),
    "generic": Way(replicas=2, environment={"NUMBA_CPU_NAME": "generic"}),
}


def main() -> int:
    """Train every problem in every way, and say which digests agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    options = parser.parse_args()
    differs = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (problem, overrides) in enumerate(PROBLEMS.items()):
            common = [f"schedule.steps={options.steps}", *overrides]
            expected = _digests(Path(folder) / f"{number}", Way(), common)
            print(f"{problem}, {options.steps} steps, {len(expected)} networks: {expected[0]} ...", flush=True)
            for name in options.ways:
                began = time.perf_counter()
                found = _digests(Path(folder) / f"{number} {name}", WAYS[name], common)
                same = found == expected[: len(found)]
                differs += not same
                outcome = f"{len(found)} of {len(found)} networks the same" if same else f"DIFFERS: {found[0]} ..."
                print(f"  {name:21} {outcome} ({time.perf_counter() - began:.0f} s)", flush=True)
    return int(differs > 0)


def _digests(folder: Path, way: Way, common: list[str]) -> list[str]:
    """`replica_digests` at the end of the run of this way."""
    overrides = ["measure.points=8", *common, *way.overrides, f"replicate.seed={way.replicas}"]
    command = [*TRAIN, *overrides, f"hydra.run.dir='{folder}'"]
    environment = os.environ | dict(way.environment)
    if way.killed:
        _kill_after_a_checkpoint(command, environment, folder / "checkpoints" / "last.ckpt")
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    info = json.loads((folder / "run.json").read_text())
    if info["engine"] != "lanes":
        raise SystemExit(f"{folder.name}: trained by the engine {info['engine']}, not by lanes")
    digests: list[str] = info["replica_digests"]
    return digests


def _kill_after_a_checkpoint(command: list[str], environment: Mapping[str, str], checkpoint: Path) -> None:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and not checkpoint.is_file():
        time.sleep(0.01)
    if process.poll() is not None:
        raise SystemExit(f"{checkpoint.parent.parent.name}: ended before it could be killed; take more --steps")
    process.kill()
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
