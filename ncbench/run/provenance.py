"""Where a number came from: versions, source revision, machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import ncbench
from ncbench.config.cores import available_cores

__all__ = ["provenance"]

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "numba",
    "llvmlite",
    "scikit-learn",
    "wandb",
)


def provenance(accelerator: str) -> dict[str, Any]:
    """The `versions`, `git` and `device` entries of run.json."""
    versions = {"ncbench": ncbench.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    device = {
        "accelerator": accelerator,
        "name": torch.cuda.get_device_name() if accelerator == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "cores": available_cores(),
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    return {"versions": versions, "git": _revision(), "device": device}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _revision() -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout the package is imported from; None for an installed package."""
    root = Path(ncbench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
