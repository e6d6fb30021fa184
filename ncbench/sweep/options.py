"""How the jobs of a sweep are carried out: the keys `hydra.launcher.*` of the launcher `pool`."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ncbench.config.rules import require

__all__ = ["EXECUTORS", "SweepOptions", "visible_gpus"]

EXECUTORS = ("local", "slurm", "ray")
_MOST_MEMORY_GB = 10**9  # more is no limit, and none that the system takes


@dataclass(frozen=True)
class SweepOptions:
    """Where the jobs run and what each of them gets; a sweep keeps them for the commands that continue it."""

    executor: str = "local"
    jobs_per_gpu: int = 1
    gpus: list[str] | None = None  # null: those that this machine shows
    cores_per_job: int | None = None  # null: what the job's network can use
    retries: int = 0
    memory_gb: float | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    ray: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def whole(name: str, least: int) -> None:
            value = getattr(self, name)
            good = isinstance(value, int) and not isinstance(value, bool) and value >= least
            require(good, f"hydra.launcher.{name}", value, f"must be a whole number >= {least}")

        known = f"must be one of {', '.join(EXECUTORS)}"
        require(self.executor in EXECUTORS, "hydra.launcher.executor", self.executor, known)
        whole("jobs_per_gpu", 1)
        whole("retries", 0)
        if self.cores_per_job is not None:
            whole("cores_per_job", 1)
        memory = self.memory_gb
        known_number = isinstance(memory, int | float) and not isinstance(memory, bool)
        possible = memory is None or (known_number and 0 < memory < _MOST_MEMORY_GB)
        rule = f"must be a number of gigabytes > 0 and < {_MOST_MEMORY_GB}, or null"
        require(possible, "hydra.launcher.memory_gb", memory, rule)
        for name in ("slurm", "ray"):
            value = getattr(self, name)
            require(isinstance(value, Mapping), f"hydra.launcher.{name}", value, "must be a mapping of parameters")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "SweepOptions":
        """From plain values of the launcher's keys. ValueError of one line for a key or value that cannot be."""
        known = [f.name for f in fields(cls)]
        given = {key: value for key, value in values.items() if key != "_target_"}
        for key, value in given.items():
            require(key in known, f"hydra.launcher.{key}", value, f"unknown key (known: {', '.join(known)})")
        if given.get("gpus") is not None:
            listed = given["gpus"] if isinstance(given["gpus"], list | tuple) else str(given["gpus"]).split(",")
            names = [str(name).strip() for name in listed]
            good = len(set(names)) == len(names) and all(names)
            require(good, "hydra.launcher.gpus", given["gpus"], "must list different devices, as in [0,1]")
            given["gpus"] = names
        return cls(**given)

    def gpus_here(self) -> list[str]:
        """The GPUs that jobs may use on this machine: those that are named ([]: none), or all that it shows."""
        return visible_gpus() if self.gpus is None else list(self.gpus)


def visible_gpus() -> list[str]:
    """The names of the GPUs that a process started here may use, as CUDA_VISIBLE_DEVICES has them; asks no torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = subprocess.run(
        [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return asked.stdout.split() if asked.returncode == 0 else []
