"""Which networks have layers that hooks can see: refused is what would hang, end the process, or give wrong numbers."""

import sys
from collections.abc import Iterable

import torch
from torch import nn

from ncbench.measure.layers import Layer

__all__ = ["check_measurable"]


def check_measurable(network: nn.Module, layers: Iterable[Layer] = ()) -> None:
    """ValueError of one line for a network of torch.jit, or layers of one, and for parameters spread over processes.

    The layers of a scripted or traced network run without calling hooks. Of parameters that fully_shard (FSDP2), tensor
    parallelism, FullyShardedDataParallel or ZeRO-3 have divided, each process holds a part, and each forward pass waits
    for the others: processes that measure different numbers of batches would wait for ever.
    """
    name = type(network).__name__
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError(
            f"model={name}: is scripted or traced (torch.jit), and such a network calls no hooks; measure the network "
            "that it was made from"
        )
    for layer in layers:
        if any(isinstance(module, torch.jit.ScriptModule) for module in (layer.output, layer.weighted, layer.receiver)):
            raise ValueError(
                f"layers={layer.name}: is scripted or traced (torch.jit), and such a module calls no hooks; name "
                "layers outside of it, or measure the network that it was made from"
            )
    if sharded := _sharded(network):
        raise ValueError(
            f"model={name}: {sharded}, so no process has the whole network; measure a copy that is not sharded (its "
            "weights are those of torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict)"
        )


def _sharded(network: nn.Module) -> str | None:
    """What says that the parameters are divided among processes; None where they are whole."""
    if "torch.distributed.tensor" in sys.modules:  # without it there is no such parameter, and the import takes seconds
        from torch.distributed.tensor import DTensor

        if any(isinstance(parameter, DTensor) for parameter in network.parameters()):
            return "its parameters are DTensors (fully_shard or tensor parallelism)"
    if any(hasattr(parameter, "ds_tensor") for parameter in network.parameters()):
        return "its parameters are divided by DeepSpeed's ZeRO-3"
    for module in network.modules():
        # Also while its parameters happen to be whole: the next pass may divide them again.
        if any(kind.__name__ == "FSDPModule" for kind in type(module).__mro__):
            return "its parameters are divided by fully_shard"
        if type(module).__name__ == "FullyShardedDataParallel" and getattr(module, "world_size", 1) > 1:
            return "its parameters are divided by FullyShardedDataParallel"
    return None
