"""Disturb trainings in every way that machines do, let them go on, and compare each with one that was left alone.

    python scripts/chaos.py --count 100 --minutes 40 --work DIR
    python scripts/chaos.py --starts 200 --work DIR        # three starts at once on one folder, so often

Kinds of training: `replica` (an ensemble by gradient descent), `lbfgs` (L-BFGS with a warm start), `augmented` (a
classifier on augmented images, in mini-batches) and `threads` (an ensemble on two threads). What happens to them:
`kill` (SIGKILL at any moment), `window` (SIGKILL before, in or after a write), `signal` (one or two of those that ask
to stop), `disk` (no room for a file), `damage` (of the newest checkpoint, or a file that a kill has left). After at
most `--each` of these a run is let go on to its end, and compared bit for bit (`chaos_compare.py`). Runs are forks of
this process (`warm_start.py`). Exit status 1 where anything differs, or where a process ended in another way than it
should.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos_compare import differences
from warm_start import Process, warm

from ncbench.records.folder import RunFolder
from ncbench.records.parts import last_step, parts
from ncbench.records.schema import CHECKPOINTS, LAST_CHECKPOINT
from ncbench.run.signals import STOPPING

KINDS = {
    "replica": ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=1500", "measure.points=14"],
    "lbfgs": [
        *("+experiment=zangrando26/fig2_gamma", "replicate.seed=1", "replicate.delta=[10.0,0.1]"),
        *("schedule.steps=2400", "schedule.warm_steps=400"),
    ],
    "augmented": [
        *("+experiment=digits_mlp", "dataset.augment=true", "dataset.per_class=40", "dataset.batch_size=64"),
        *("trainer.max_epochs=8", "measure.points=5", "trainer.keep_checkpoints=[0,3]"),
    ],
    "threads": [
        *("+experiment=dufm_k10", "replicate.seed=4", "trainer.threads=2"),
        *("schedule.steps=1000", "measure.points=10"),
    ],
}
CALLS = [("os", "replace"), ("os", "fsync"), ("torch", "save"), ("pyarrow.parquet", "write_table")]
ALWAYS = ["trainer.progress=false", "trainer.checkpoint_seconds=0.3"]


class Chaos:
    """The runs of one kind below `work`; `wrong` is what should not have happened, in words."""

    def __init__(self, kind: str, work: Path, moments: random.Random, overrides: list[str] | None = None) -> None:
        self.kind, self.work, self.moments = kind, work / kind, moments
        self.overrides = [*(KINDS[kind] if overrides is None else overrides), *ALWAYS]
        self.wrong: list[str] = []
        self.done = Counter[str]()
        self.compared = self.killed = 0
        self.work.mkdir(parents=True)
        began = time.monotonic()
        self.expect(self.start(self.whole), (0,), "undisturbed")
        self.seconds = time.monotonic() - began
        self.folder = self.work / "run-0"

    @property
    def whole(self) -> Path:
        """The run that is left alone."""
        return self.work / "whole"

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to disturb."""
        return RunFolder(self.folder).info().get("status") == "done"

    def start(self, folder: Path, prepare: Callable[[], object] | None = None) -> Process:
        """The command of this kind in a folder."""
        (self.work / "said").unlink(missing_ok=True)
        return Process([*self.overrides, f"hydra.run.dir={folder}"], self.work / "said", prepare=prepare)

    def expect(self, process: Process, statuses: tuple[int, ...], what: str) -> None:
        """Wait for the end, which must be one of these, and no page of Python's."""
        status = process.wait(600)
        said = process.said
        self.killed += status == -signal.SIGKILL
        if status not in statuses or "Traceback" in said:
            self.wrong.append(f"{self.kind}: {what}: exit status {status}, {said[-300:]!r}")

    def disturb(self, what: str) -> None:
        """Let one thing happen to the run, from the start or resumed."""
        getattr(self, f"_{what}")()
        self.done[what] += 1
        recorded = parts(self.folder, "measures")
        at = last_step(recorded[-1]) if recorded else None
        status = RunFolder(self.folder).info().get("status")
        print(f"{self.kind}: {what}: {status}, last record at step {at}", flush=True)

    def settle(self) -> None:
        """Let the run go on to its end and compare it; the next one begins anew."""
        self.expect(self.start(self.folder), (0,), "to the end")
        try:
            differing = differences(self.whole, self.folder)
        except (OSError, EOFError, ValueError, KeyError, RuntimeError) as error:
            differing = [f"{type(error).__name__}: {error}"]
        self.compared += 1
        self.wrong += [f"{self.kind}: {what}" for what in differing]
        print(f"{self.kind}: compared: {', '.join(differing) or 'no difference'}", flush=True)
        if not differing:
            shutil.rmtree(self.folder)
        self.folder = self.work / f"run-{self.compared}"

    def _wait(self) -> None:
        time.sleep(self.moments.uniform(0.1, 0.9) * self.seconds)

    def _kill(self) -> None:
        process = self.start(self.folder)
        self._wait()
        process.send(signal.SIGKILL)
        self.expect(process, (-signal.SIGKILL, 0), "kill")

    def _window(self) -> None:
        module, name = self.moments.choice(CALLS)
        number, when = self.moments.randint(1, 12), self.moments.choice(["before", "in", "after"])
        process = self.start(self.folder, lambda: plant_kill(module, name, number, when))
        self.expect(process, (-signal.SIGKILL, 0), f"window {when} {name}")

    def _signal(self) -> None:
        process = self.start(self.folder)
        self._wait()
        numbers = self.moments.choices(STOPPING, k=self.moments.randint(1, 2))
        for number in numbers:
            process.send(number)
            time.sleep(0.02)
        self.expect(process, (1, 0), f"signals {numbers}")
        status = RunFolder(self.folder).info().get("status")
        if status not in ((None, "interrupted") if process.status else ("done",)) and not self._was_stopped_early():
            self.wrong.append(f"{self.kind}: signals {numbers}: status {status}")

    def _was_stopped_early(self) -> bool:
        """Whether the process ended before it had the folder: then the state is that of the process before."""
        said = (self.work / "said").read_text().strip()
        return said.splitlines()[-1:] == ["ncbench: interrupted"]

    def _disk(self) -> None:
        room = int(10 ** self.moments.uniform(2.5, 5.5))
        process = self.start(self.folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
        self.expect(process, (1, 0), f"files of at most {room} bytes")
        status = RunFolder(self.folder).info().get("status")
        if process.status == 1 and room > 2**15 and status != "failed":
            self.wrong.append(f"{self.kind}: files of at most {room} bytes: status {status}")

    def _damage(self) -> None:
        checkpoints = self.folder / CHECKPOINTS
        newest = checkpoints / LAST_CHECKPOINT
        if not (checkpoints / "previous.ckpt").exists():
            self._kill()
            return
        content = bytearray(newest.read_bytes())
        how = self.moments.choice(["half", "bit", "empty", "left"])
        content[self.moments.randrange(len(content))] ^= 1 << self.moments.randrange(8)
        place = checkpoints / ".last.ckpt.tmp" if how == "left" else newest
        place.write_bytes(content if how == "bit" else b"" if how == "empty" else content[: len(content) // 2])
        self._kill()


def plant_kill(module: str, name: str, number: int, when: str) -> None:
    """In the child: SIGKILL at the n-th call of a function, before it, after it, or when half of it is written."""
    holder: Any = sys.modules[module]
    real, calls = getattr(holder, name), iter(range(1, sys.maxsize))

    def planted(*arguments: Any, **more: Any) -> Any:
        due = next(calls) == number
        if due and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        value = real(*arguments, **more)
        if due and when == "in" and name in ("save", "write_table"):
            arguments[1].truncate(arguments[1].tell() // 2)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    setattr(holder, name, planted)


def three_starts(times: int, work: Path) -> list[str]:
    """Start three processes at once on one new folder, so often: one trains, the others say that it does."""
    wrong = []
    overrides = ["+experiment=dufm_k10", "replicate.seed=1", "schedule.steps=200", "measure.points=4", *ALWAYS]
    for number in range(times):
        folder = work / f"start-{number}"
        texts = [work / f"said-{number}-{place}" for place in range(3)]
        processes = [Process([*overrides, f"hydra.run.dir={folder}"], text) for text in texts]
        ends = [(process.wait(), process.said) for process in processes]
        trained = sum("done in" in said for _, said in ends)
        refused = sum(status == 2 and said.count("\n") == 1 and "a run is going on" in said for status, said in ends)
        late = sum(status == 0 and said.startswith("already done") for status, said in ends)
        if trained != 1 or trained + refused + late != 3:
            wrong.append(f"start {number}: {ends}")
        else:
            shutil.rmtree(folder)
            for text in texts:
                text.unlink()
    print(f"{times} times three starts at once: {len(wrong)} wrong")
    return wrong


def main(argv: list[str] | None = None) -> int:
    """Run it and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the runs")
    parser.add_argument("--count", type=int, default=40, help="of disturbances, over all kinds")
    parser.add_argument("--each", type=int, default=5, help="of them at most in one run")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no more happens")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--what", nargs="+", default=["kill", "window", "signal", "disk", "damage"])
    parser.add_argument("--starts", type=int, default=0, help="three starts at once, so often, and nothing else")
    parser.add_argument("--seed", type=int, default=0, help="of what happens when")
    arguments = parser.parse_args(argv)
    warm()
    if arguments.starts:
        arguments.work.mkdir(parents=True, exist_ok=True)
        wrong = three_starts(arguments.starts, arguments.work)
    else:
        wrong = disturbed(arguments)
    print("\n".join(wrong))
    return 1 if wrong else 0


def disturbed(arguments: argparse.Namespace) -> list[str]:
    """Everything that is asked for, kind after kind in turns."""
    moments, began, happened = random.Random(arguments.seed), time.monotonic(), 0
    runs = [Chaos(kind, arguments.work, moments) for kind in arguments.kinds]
    for run in runs:
        print(f"{run.kind}: undisturbed in {run.seconds:.1f} s", flush=True)

    def left() -> bool:
        return bool(happened < arguments.count and time.monotonic() - began < 60 * arguments.minutes)

    while left():
        for run in runs:
            planned = moments.randint(1, arguments.each)
            while planned and left() and not run.is_done:
                planned, happened = planned - 1, happened + 1
                run.disturb(arguments.what[(happened - 1) % len(arguments.what)])
            if run.folder.exists():
                run.settle()
    print(f"\n{happened} disturbances in {(time.monotonic() - began) / 60:.1f} minutes")
    for run in runs:
        by = ", ".join(f"{count} {what}" for what, count in sorted(run.done.items()))
        ends = f"{run.killed} processes killed, {run.compared} runs compared, {len(run.wrong)} things wrong"
        print(f"{run.kind}: {by}; {ends}")
    return [what for run in runs for what in run.wrong]


if __name__ == "__main__":
    sys.exit(main())
