"""A few minutes of a GPU, the most valuable thing first: tests, records, benchmarks.

    python scripts/gpu_records.py --minutes 14 --out DIR --root DATA
    python scripts/gpu_records.py --minutes 5 --out DIR --rehearse    tiny sizes on the CPU, no images needed

Goes through `STEPS` in order. A step that would have less than its `least` minutes is passed over, one that reaches its
`limit` is asked to save and stop. DIR/status.json has the state, exit status and seconds of each, DIR/logs its output,
DIR/NAME its records. Called again with the same DIR it leaves out what is done, goes on with trainings that were
stopped, and takes what was passed over; what failed is tried again with --retry only. Exit status: 0 where every step
is done, 1 where one failed or is left over, 2 for wrong input.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
EXPERIMENTS = REPOSITORY / "conf" / "experiment"
GRACE = 20.0  # seconds for a step that is asked to stop, and kept back at the end


@dataclass(frozen=True)
class Step:
    """What is done: a training (`experiment`: a name or a pattern of names) or a command of Python's.

    `least`, `limit` in minutes. `tiny` takes the place of `words` in a rehearsal. {root} and {out} are filled in.
    """

    name: str
    least: float
    limit: float
    words: tuple[str, ...]
    tiny: tuple[str, ...] = ()
    experiment: str = ""
    jobs_per_gpu: int = 3
    needs_root: bool = False


BENCH_TRAIN = ("scripts/bench_train.py", "--root", "{root}", "--device", "cuda", "--batches", "380")
STEPS = (
    Step("tests", 0.5, 3, ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"),
         tiny=("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/data/test_loader.py")),
    # One after another: together they get little more out of the GPU, and none would come to its end.
    Step("cifar_resnet20", 1, 9, ("seed=0,1,2",), experiment="cifar_resnet20", jobs_per_gpu=1),
    Step("bench_train", 1, 4, (*BENCH_TRAIN, "--turns", "3"), needs_root=True,
         tiny=("scripts/bench_train.py", "--root", "{root}", "--turns", "1", "--batches", "1")),
    Step("engine", 0.5, 2, ("trainer.accelerator=cpu,gpu", "schedule.steps=20000"), experiment="dufm_k10",
         tiny=("schedule.steps=50",)),
    Step("bench_dufm", 1, 2, ("scripts/bench_dufm.py", "--rounds", "1", "--seconds", "1"),
         tiny=("scripts/bench_dufm.py", "--rounds", "1", "--seconds", "0.05", "--sizes", "1")),
    Step("bench_seeds", 0.5, 1, ("scripts/bench_seeds.py", "--device", "cuda", "--seeds", "8", "--steps", "20"),
         tiny=("scripts/bench_seeds.py", "--networks", "mlp", "--steps", "1", "--turns", "1")),
    Step("mnist_resnet20", 1, 8, ("seed=0,1,2",), experiment="mnist_resnet20"),
    Step("garrod25_fig3", 1, 10, ("seed=0,1,2",), experiment="untested/fig3_resnet_*"),
    Step("mnist_decays", 1, 10, ("objective.weight_decay=8e-3,4e-3,2e-3,5e-4",), experiment="mnist_resnet20"),
    Step("bench_compile", 3, 5, (*BENCH_TRAIN, "--turns", "2", "--compile"), needs_root=True,
         tiny=("scripts/bench_train.py", "--root", "{root}", "--turns", "1", "--batches", "1")),
    Step("cifar_decays", 1, 10, ("objective.weight_decay=1e-2,2.5e-3,1.25e-3",), experiment="cifar_resnet20"),
    Step("papyan20", 2, 10, ("seed=0",), experiment="papyan20/resnet_ce"),
)  # fmt: skip
# As the experiments stand, so that the records are theirs: the GPU is found, and a graph needs one.
ON_GPU = ("trainer.cuda_graph=true", "trainer.checkpoint_seconds=15")
ON_IMAGES = ("dataset.root={root}",)
REHEARSED = ("trainer.accelerator=cpu", "measure.points=2")
REHEARSED_IMAGES = ("dataset=digits", "dataset.per_class=10", "trainer.max_epochs=1", "seed=0,1")


def main() -> int:
    """Carry out what is not done, for as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, metavar="M", help="in all; nothing goes on after them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--root", type=Path, metavar="DATA", help="CIFAR-10 and MNIST as torchvision lays them out")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these steps; default: all")
    parser.add_argument("--retry", action="store_true", help="try what failed once more")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU")
    options = parser.parse_args()
    known = [step.name for step in STEPS]
    wrong = [f"--only {name}: must be one of {', '.join(known)}" for name in options.only or () if name not in known]
    wrong += [f"--minutes {options.minutes}: must be > 0"] * (not 0 < options.minutes < float("inf"))
    wrong += [f"--root {options.root}: is no folder"] * (options.root is not None and not options.root.is_dir())
    if wrong:
        print(f"gpu_records: {wrong[0]}", file=sys.stderr)
        return 2
    return Session(options).run()


class Session:
    """One call: its deadline, and the status file that the next call reads."""

    def __init__(self, options: Any) -> None:
        self.options, self.out = options, options.out.absolute()
        self.deadline = time.monotonic() + 60 * options.minutes - GRACE
        self.child: subprocess.Popen[bytes] | None = None
        self.path = self.out / "status.json"
        (self.out / "logs").mkdir(parents=True, exist_ok=True)
        self.steps: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.steps = json.loads(self.path.read_text())["steps"]

    def run(self) -> int:
        """All steps; the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end_now)
        chosen = [step for step in STEPS if not self.options.only or step.name in self.options.only]
        for step in chosen:
            state = self.steps.get(step.name, {}).get("state")
            if state == "done" or (state == "failed" and not self.options.retry):
                continue
            left = self.deadline - time.monotonic()
            why = self._left_out(step, left)
            if why:
                self._note(step, "passed over", why=why)
            else:
                self._carry_out(step, min(60 * step.limit, left))
            print(f"{step.name}: {json.dumps(self.steps[step.name])}", flush=True)
        return 0 if all(self.steps[step.name]["state"] == "done" for step in chosen) else 1

    def _left_out(self, step: Step, left: float) -> str:
        if step.experiment and not experiments(step.experiment):
            return f"there is no experiment {step.experiment}"
        images = step.experiment and not step.experiment.startswith("dufm")
        if self.options.root is None and (step.needs_root or (images and not self.options.rehearse)):
            return "it needs --root"
        return f"{left:.0f} s are left, it takes {60 * step.least:.0f}" if left < 60 * step.least else ""

    def _carry_out(self, step: Step, seconds: float) -> None:
        words = self.command(step)
        before = float(self.steps.get(step.name, {}).get("seconds", 0.0))
        self._note(step, "running", command=words, seconds=before)
        began = time.monotonic()
        with open(self.out / "logs" / f"{step.name}.log", "ab") as log:
            # A session of its own: everything that it has started can be ended with it.
            self.child = subprocess.Popen(words, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True)
            stopped = False
            try:
                status = self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                stopped, status = True, ended(self.child)
        state = "done" if status == 0 else "stopped" if stopped else "failed"
        self._note(step, state, exit_status=status, command=words, seconds=round(before + time.monotonic() - began, 1))

    def command(self, step: Step) -> list[str]:
        """The words of a step: Python with a script or module, or a sweep of trainings."""
        words = step.tiny if self.options.rehearse and step.tiny else step.words
        if step.experiment:
            images = not step.experiment.startswith("dufm")
            if self.options.rehearse:
                words = (*(step.tiny or ()), *REHEARSED, *(REHEARSED_IMAGES if images else ()))
            elif images:
                words = (*words, *ON_GPU, *ON_IMAGES)
            names = f"+experiment={','.join(experiments(step.experiment))}"
            launcher = f"hydra.launcher.jobs_per_gpu={step.jobs_per_gpu}"
            places = (f"hydra.sweep.dir={self.out / step.name}", "trainer.progress=false", launcher)
            words = ("-m", "ncbench.train", "-m", names, *words, *places)
        filled = {"root": str(self.options.root.absolute()) if self.options.root else "", "out": str(self.out)}
        return [sys.executable, *(word.format(**filled) if "{" in word else word for word in words)]

    def _note(self, step: Step, state: str, **values: Any) -> None:
        """Into status.json, which is whole at any time."""
        self.steps[step.name] = {"state": state, "log": f"logs/{step.name}.log", **values}
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"minutes": self.options.minutes, "steps": self.steps}, indent=1))
        os.replace(temporary, self.path)

    def _end_now(self, number: int, frame: FrameType | None) -> None:
        """The machine is wanted back: what runs is stopped, and counts as stopped."""
        self.deadline = 0.0
        if self.child is not None and self.child.poll() is None:
            ended(self.child)
        for name, entry in self.steps.items():
            if entry["state"] == "running":
                self._note(next(step for step in STEPS if step.name == name), "stopped", seconds=entry["seconds"])
        sys.exit(1)


def experiments(pattern: str) -> list[str]:
    """The experiments of a pattern that exist, without short forms."""
    found = sorted(path.relative_to(EXPERIMENTS).with_suffix("") for path in EXPERIMENTS.glob(f"{pattern}.yaml"))
    return [str(name) for name in found if not name.name.endswith(("_quick", "_small"))]


def ended(child: "subprocess.Popen[bytes]") -> int:
    """Ask a step to save and stop; after `GRACE` seconds, end all of its processes."""
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE - 5)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
