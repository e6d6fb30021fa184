"""What a command costs beside its training: processor seconds of whole commands, and of the phases of a short run.

Every command is a process of its own, on one thread, from its start to its end; the medians of several rounds.
Processor time, as a machine that does other work lengthens the time of the clock. With --against the same commands
run with another checkout of the package in turn, and the ratio of the two is printed.

python scripts/bench_startup.py                               # this checkout
python scripts/bench_startup.py --against DIR --rounds 5      # against the checkout in DIR, such as a git worktree
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
RUN = ["-m", "ncbench.train", "+experiment=dufm_k10", "schedule.steps=200"]
WHOLE = "a run of 200 steps"
# In the order in which they are run: what is "done already" is the run before it.
COMMANDS: dict[str, list[str]] = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import pytorch_lightning": ["-c", "import pytorch_lightning"],
    "train --help": ["-m", "ncbench.train", "--help"],
    "train --list": ["-m", "ncbench.train", "--list"],
    "a misspelt key": ["-m", "ncbench.train", "+experiment=dufm_k10", "schedule.stepz=200"],
    "sweep plan, 2 jobs": ["-m", "ncbench.sweep", "plan", "+experiment=dufm_k10", "seed=1,2"],
    "measure --help": ["-m", "ncbench.measure", "--help"],
    WHOLE: RUN,
    "the same, done already": RUN,
}
# The steps of a run, each with those before it: the difference is what it costs, also at the end of the process.
_COMPOSED = """from contextlib import nullcontext
from ncbench import _cli, train
from ncbench.run.compose import compose_command
compose_command(['+experiment=dufm_k10', 'schedule.steps=200'], multirun=False)
"""
_IMPORTED = _COMPOSED + "with getattr(_cli, 'collector_off', nullcontext)():\n    import "
PHASES = {
    "the interpreter": "pass",
    "composing and validating": _COMPOSED,
    "importing torch": _IMPORTED + "torch",
    "importing Lightning": _IMPORTED + "torch, pytorch_lightning",
    "importing the rest": _IMPORTED + "torch, pytorch_lightning, ncbench.run.execute",
}


def main() -> int:
    """Print both tables; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, run in turn with this one")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    options = parser.parse_args()
    checkouts = [HERE] if options.against is None else [options.against.resolve(), HERE]
    lines = {**COMMANDS, **{f"  {phase}": ["-c", code] for phase, code in PHASES.items()}}
    seconds: dict[tuple[str, Path], list[float]] = {(name, at): [] for name in lines for at in checkouts}
    with tempfile.TemporaryDirectory() as temporary:
        for _ in range(options.rounds):
            for name, line in lines.items():
                for number, at in enumerate(checkouts):
                    folder = Path(temporary) / str(number)
                    if name == WHOLE:
                        shutil.rmtree(folder, ignore_errors=True)
                    where = [f"hydra.run.dir={folder}"] if line is RUN else []
                    seconds[name, at].append(processor_seconds([*line, *where], at))
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    head = ["CPU s"] if options.against is None else ["before", "now", "ratio"]
    print(f"{'command, median of ' + str(options.rounds):32s}" + "".join(f"{word:>9s}" for word in head))
    for name in COMMANDS:
        print(f"{name:32s}" + _row([medians[name, at] for at in checkouts]))
    print(f"of {WHOLE}")
    before = [0.0] * len(checkouts)
    for phase in PHASES:
        spent = [medians[f"  {phase}", at] for at in checkouts]
        print(f"  {phase:30s}" + _row([now - then for now, then in zip(spent, before, strict=True)]))
        before = spent
    rest = [medians[WHOLE, at] - then for at, then in zip(checkouts, before, strict=True)]
    print(f"  {'building, training, ending':30s}" + _row(rest))
    return 0


def processor_seconds(arguments: Sequence[str], checkout: Path) -> float:
    """User and system time of a Python process on one thread, with that checkout; SystemExit if it fails."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env={**os.environ, **threads, "PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode not in (0, 2):  # 2: the refusal that is measured
        raise SystemExit(f"exit status {done.returncode}: python {' '.join(arguments)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _row(values: list[float]) -> str:
    ratio = [f"{values[0] / values[1]:9.2f}"] if len(values) == 2 and values[1] > 0.05 else []
    return "".join([*(f"{value:9.2f}" for value in values), *ratio])


if __name__ == "__main__":
    sys.exit(main())
