"""A network's weights as one short text, by which two runs are compared bit for bit."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["replica_digests", "weights_digest"]

DIGITS = 16  # 64 bits: among 10^4 replicas two of different weights share them with a chance of 3e-12


@torch.no_grad()
def weights_digest(network: nn.Module) -> str:
    """SHA-256 in hexadecimal of all tensors of the network's state_dict, buffers included.

    Their bytes one after the other in the order of their sorted names, each tensor contiguous (row by row), in
    its own dtype and on the CPU; little-endian, as on every machine that this package was run on. Names and shapes are
    not part of it, nor is what an engine keeps beside the network, such as momenta or replicas that fill a vector.
    """
    digest = hashlib.sha256()
    for x in _tensors(network):
        digest.update(_bytes(x))
    return digest.hexdigest()


@torch.no_grad()
def replica_digests(network: nn.Module, replicas: int) -> list[str]:
    """Of each of R replicas the first DIGITS digits of what `weights_digest` is of that replica alone.

    So they depend neither on the number of replicas nor on a replica's place among them. A tensor (R, ...) holds the
    replicas along its first axis; one of another first axis, which no network of ours has, is part of every replica.
    """
    tensors = _tensors(network)
    digests = []
    for replica in range(replicas):
        digest = hashlib.sha256()
        for x in tensors:
            digest.update(_bytes(x[replica] if x.shape[:1] == (replicas,) else x))
        digests.append(digest.hexdigest()[:DIGITS])
    return digests


def _tensors(network: nn.Module) -> list[Tensor]:
    """In the order of their names, on the CPU and contiguous."""
    return [x.detach().cpu().contiguous() for _, x in sorted(network.state_dict().items())]


def _bytes(x: Tensor) -> memoryview:
    content: Any = x.reshape(-1).view(torch.uint8).numpy()
    return memoryview(content)
