"""A network's weights as one short text, by which two runs are compared bit for bit."""

import hashlib

import torch
from torch import nn

__all__ = ["weights_digest"]


@torch.no_grad()
def weights_digest(network: nn.Module) -> str:
    """SHA-256 in hexadecimal of all tensors of the network's state_dict, buffers included.

    Their bytes one after the other in the order of their sorted names, each tensor contiguous (row by row) and on the
    CPU; little-endian, as on every machine that this package was run on. Names and shapes are not part of it.
    """
    digest = hashlib.sha256()
    for _, x in sorted(network.state_dict().items()):
        digest.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
