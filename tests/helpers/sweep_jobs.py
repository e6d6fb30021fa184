"""Sweeps whose jobs are small scripts in place of trainings: what the queue does is seen without torch."""

import json
import os
import sys
import textwrap
from pathlib import Path

from ncbench.sweep import process
from ncbench.sweep.options import SweepOptions
from ncbench.sweep.plan import Plan, PlannedJob

# What a job does by default: writes what it was given, sleeps, writes that it is done.
SCRIPT = textwrap.dedent(
    """
    import json, os, pathlib, signal, sys, time
    folder, seconds, fate = pathlib.Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    folder.mkdir(parents=True, exist_ok=True)
    info = {"config_hash": "h", "schema_version": 2, "error": None, "began": time.time()}
    info["device"] = {"visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES")}
    info["threads"] = os.environ["OMP_NUM_THREADS"]
    before = json.loads((folder / "run.json").read_text()) if (folder / "run.json").exists() else {}
    info["starts"] = before.get("starts", 0) + 1
    def write(status, **more):
        part = folder / "run.json.part"
        part.write_text(json.dumps({**info, "status": status, **more}))
        part.replace(folder / "run.json")
    def stopped(*_):
        write("interrupted", error="stopped by a signal")
        sys.exit(1)
    signal.signal(signal.SIGTERM, stopped)
    if fate == "refused":
        print("ncbench: dataset.root=/none: holds no data", flush=True)
        sys.exit(2)
    write("running")
    time.sleep(seconds)
    if fate == "killed" or (fate == "killed once" and info["starts"] == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "failed":
        write("failed", error="RuntimeError: planted")
        print("ncbench: failed: RuntimeError: planted; log in somewhere", flush=True)
        sys.exit(1)
    write("done", wall_seconds=time.time() - info["began"], ended=time.time())
    """
)


class SmallJobs:
    """Makes plans of scripts and says what the scripts wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.does: dict[str, tuple[float, str]] = {}

    def plan(self, jobs: list[tuple[float, str]], *, accelerator: str = "auto", devices: int = 1, **options) -> Plan:
        planned = []
        for number, does in enumerate(jobs):
            folder = str(self.folder / f"job{number}")
            self.does[folder] = does
            known = {"experiment": "none", "replicas": 1, "work": 1.0, "cores": 1, "most_cores": 1}
            known |= {"cwd": os.getcwd(), "config_dirs": []}
            what = {"number": number, "label": f"seed={number}", "overrides": [], "folder": folder, "config_hash": "h"}
            planned.append(PlannedJob(**what, **known, accelerator=accelerator, devices=devices))
        command = "python -m ncbench.train -m seed=0,1"
        return Plan(self.folder, command, {"seed": []}, SweepOptions.of(options), planned)

    def command(self, plan: Plan, job: PlannedJob) -> list[str]:
        seconds, fate = self.does[job.folder]
        return [sys.executable, "-c", SCRIPT, job.folder, str(seconds), fate]

    def wrote(self) -> list[dict]:
        """run.json of every job, in order."""
        paths = sorted(self.folder.glob("job*/run.json"), key=lambda path: int(path.parent.name[3:]))
        return [json.loads(path.read_text()) for path in paths]


def small_jobs(folder: Path, monkeypatch) -> SmallJobs:
    """With leases of their own, so that tests side by side do not wait for each other."""
    made = SmallJobs(folder / "sweep")
    (folder / "leases").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "leases"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(process, "command_of", made.command)
    return made
