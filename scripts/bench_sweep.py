"""Seconds of a whole sweep: the pool against Hydra's basic launcher, and against list scheduling.

    python scripts/bench_sweep.py --work DIR                        8 jobs, the pool and the basic launcher
    python scripts/bench_sweep.py --work DIR --gpus 2 --jobs 12     the pool on two GPUs that need not exist

Every job is `dufm_k10` with one thread, alike but for the seed. The first form prints the ratio of the two launchers'
times; both include the start of every process. The second prints the pool's time over that of list scheduling (each
machine takes the next job as soon as it is free) of the same attempts, and whether two jobs were ever on one GPU or saw
another one than they were given.
"""

import argparse
import heapq
import json
import subprocess
import sys
import time
from pathlib import Path

from ncbench.records.folder import RunFolder
from ncbench.sweep.plan import read_plan
from ncbench.sweep.states import ATTEMPTS

# An ensemble of eight replicas: 300 000 steps are half a minute and more on one core of 2026.
JOB = ["+experiment=dufm_k10", "replicate.seed=8", "measure.points=10", "trainer.threads=1", "trainer.progress=false"]


def seconds_of(overrides: list[str]) -> float:
    """A sweep as a command of its own."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "ncbench.train", "-m", *overrides], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def list_schedule(seconds: list[float], machines: int) -> float:
    """When everything is done if each machine takes the next job as soon as it is free."""
    free = [0.0] * machines
    for duration in seconds:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def check_gpus(folder: Path, total: float, gpus: int) -> bool:
    """Prints what the attempts of a finished sweep say of its GPUs, and whether all is well."""
    plan = read_plan(folder)
    attempts = [json.loads(line) for line in (folder / ATTEMPTS).read_text().splitlines()]
    attempts.sort(key=lambda attempt: attempt["started"])
    shared = [
        (a["job"], b["job"])
        for place, a in enumerate(attempts)
        for b in attempts[place + 1 :]
        if a["place"] == b["place"] and b["started"] < a["ended"]
    ]
    given = {attempt["run"]: attempt["place"] for attempt in attempts}
    seen = {job.name_in(plan): f"gpu {RunFolder(job.folder).info()['device']['visible_devices']}" for job in plan.jobs}
    ideal = list_schedule([attempt["ended"] - attempt["started"] for attempt in attempts], gpus)
    print(f"{len(attempts)} attempts; two at once on one GPU: {shared or 'never'}; each saw its own: {given == seen}")
    print(f"pool {total:.1f} s, list scheduling {ideal:.1f} s: {total / ideal:.3f} times")
    return not shared and given == seen


def main() -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the sweeps")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=320_000, help="of a job; 20 000 are about 2.3 s")
    parser.add_argument("--gpus", type=int, help="faked ones, by number")
    options = parser.parse_args()
    overrides = [*JOB, f"schedule.steps={options.steps}", f"seed=range({options.jobs})"]
    if options.gpus:
        folder = (options.work / "gpus").absolute()
        names = ",".join(map(str, range(options.gpus)))
        total = seconds_of([*overrides, f"hydra.sweep.dir={folder}", f"hydra.launcher.gpus=[{names}]"])
        return 0 if check_gpus(folder, total, options.gpus) else 1
    taken = {}
    for launcher in ("pool", "basic"):
        folder = options.work / launcher
        taken[launcher] = seconds_of([*overrides, f"hydra/launcher={launcher}", f"hydra.sweep.dir={folder}"])
        walls = sorted(
            RunFolder(path).info()["wall_seconds"] for path in folder.iterdir() if (path / "run.json").exists()
        )
        print(f"{launcher}: {taken[launcher]:.1f} s; a job trains for {walls[0]:.1f} to {walls[-1]:.1f} s", flush=True)
    print(f"{options.jobs} jobs: basic / pool = {taken['basic'] / taken['pool']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
