"""What a network draws at random while it trains, as a function of seed, step and process."""

import hashlib

import torch

from ncbench.data.draws import seed_generators

__all__ = ["seed_step"]


def seed_step(seed: int, step: int, process: int, device: torch.device) -> None:
    """Python's, NumPy's and torch's generators, with that of `device`, draw from now on what these three seed."""
    digest = hashlib.blake2b(f"step {seed} {step} {process}".encode(), digest_size=8).digest()
    word = int.from_bytes(digest, "little", signed=True)
    seed_generators(word)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(word)  # of the current device, which is the process's own
