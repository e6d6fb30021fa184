"""Kill jobs and the launcher of a sweep with SIGKILL at random moments, resume, and compare with an undisturbed sweep.

    python scripts/check_sweep_kills.py --kills 20 --work DIR -- +experiment=dufm_k10 seed=0,1 model.depth=3,4,5

Both sweeps use the same command but for their folder. A third of the kills hit the launcher, which is followed at once
by `ncbench.sweep resume` (its jobs go on meanwhile), the others a job that is training. In the end the sweep is resumed
until every job is done. Compared are the final checkpoints and all records of every job, as by `chaos.py`; every
job must have come to its end once. Exit status 1 where anything differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from chaos_compare import differences

from ncbench.records.folder import RunFolder
from ncbench.sweep.plan import Plan, read_plan
from ncbench.sweep.states import log_of, states_of

_PATIENCE = 10  # resumes after the last kill


def launch(command: list[str]) -> subprocess.Popen[bytes]:
    """A launcher as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def training(folder: Path) -> list[int]:
    """The processes that are training below the folder: those whose run says so."""
    found = []
    for holder in folder.glob("*/.holder"):
        run = RunFolder(holder.parent)
        if run.is_held() and run.info().get("status") == "running":
            found.append(int(holder.read_text().split()[1]))
    return found


def kill_something(launcher: subprocess.Popen[bytes], folder: Path, moments: random.Random) -> str | None:
    """Kill the launcher or a job that is training; what was killed, or None where no job is training now."""
    jobs = training(folder)
    if launcher.poll() is not None or not jobs:
        return None
    if moments.random() < 1 / 3:
        launcher.kill()
        launcher.wait()
        return f"the launcher, with {len(jobs)} jobs training"
    victim = moments.choice(jobs)
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    return "a job"


def finished_once(plan: Plan) -> list[str]:
    """Jobs that did not come to their end exactly once, in words."""
    wrong = []
    for job in plan.jobs:
        ends = sum(line.startswith("done in ") for line in log_of(plan, job).read_text().splitlines())
        if ends != 1:
            wrong.append(f"job {job.number} came to its end {ends} times")
    return wrong


def main() -> int:
    """Run the comparison and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the two sweeps")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("overrides", nargs="+")
    arguments = parser.parse_args()
    whole, killed = (arguments.work.absolute() / name for name in ("whole", "killed"))
    overrides = [*arguments.overrides, "trainer.progress=false"]
    began = time.monotonic()
    if launch(["ncbench.train", "-m", *overrides, f"hydra.sweep.dir={whole}"]).wait():
        print("the undisturbed sweep failed", file=sys.stderr)
        return 1
    wall = time.monotonic() - began
    print(f"undisturbed: {len(read_plan(whole).jobs)} jobs in {wall:.0f} s", flush=True)

    moments = random.Random(arguments.seed)
    command = ["ncbench.train", "-m", *overrides, f"hydra.sweep.dir={killed}"]
    launcher, done = launch(command), 0
    while done < arguments.kills:
        time.sleep(moments.uniform(0, wall / arguments.kills))  # often enough: at half of these moments nothing trains
        what = kill_something(launcher, killed, moments)
        if what is not None:
            done += 1
            print(f"kill {done}: {what}", flush=True)
        if launcher.poll() is not None:
            started = (killed / "sweep.json").is_file()
            if started and all(state.status == "done" for state in states_of(read_plan(killed))):
                break
            launcher = launch(["ncbench.sweep", "resume", str(killed)] if started else command)
    status, resumes = launcher.wait(), 0
    while status and resumes < _PATIENCE:
        resumes += 1
        status = launch(["ncbench.sweep", "resume", str(killed)]).wait()
    plan = read_plan(killed)
    wrong = finished_once(plan)
    for job in plan.jobs:
        wrong += [f"job {job.number}: {what}" for what in differences(whole / job.path.name, job.path)]
    said = ", ".join(wrong) or "no difference"
    print(f"{done} kills and {resumes} resumes after the last, exit status {status}: {said}")
    return 1 if wrong or status or done < arguments.kills else 0


if __name__ == "__main__":
    sys.exit(main())
