"""A pretended device that is not the CPU: what a network and its measures do on a GPU, on a machine that has none.

Its tensors hold tensors of the CPU, so that the numbers are the CPU's. What a CUDA device refuses is refused: operands
on two devices, a generator of the other device, reading by NumPy. Moving, copying, and the exceptions PyTorch makes for
CUDA are allowed: a CPU tensor without dimensions, and CPU indices into a tensor of the device.

`register` once, in a process of its own (torch has one such device, and its accelerator is it from then on); tensors
are made on it, in this thread, inside `with OnDevice():`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
IS_SUPPORTED = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")  # since torch 2.9

MOVES = ("aten._to_copy.default", "aten.copy_.default")
INDEXES = ("aten.index.", "aten.index_put", "aten._index_put_impl_")
# Of these an operand without dimensions has to be on the device as well.
NO_SCALARS = (
    "aten.cat.",
    "aten.stack.",
    "aten.index_",
    "aten.gather.",
    "aten.scatter",
    "aten.nll_loss",
    "aten.embedding",
)
_FORWARDED = torch._C._disabled_torch_function_impl


class DeviceTensor(Tensor):
    """A tensor whose device is the pretended one, around `held` on the CPU."""

    held: Tensor
    __torch_function__ = _FORWARDED  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> "DeviceTensor":
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(NAME, 0),
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Numbers can be read, as those of a GPU can."""
        return self.held.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        """Refused, as for every tensor that is not on the CPU."""
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy: Tensor = DeviceTensor(self.held.detach().clone())
        return nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        """In a file it is what `torch.load` with `map_location="cpu"` finds."""
        held = self.held.detach()
        return (nn.Parameter(held, self.requires_grad) if isinstance(self, nn.Parameter) else held).__reduce_ex__(
            protocol
        )


def is_pretended(device: Any) -> bool:
    """Whether the value of an argument `device` names it."""
    return device is not None and torch.device(device).type == NAME


def call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the held tensors, with what a CUDA device refuses refused."""
    leaves = tree_leaves((args, kwargs))
    there = any(isinstance(x, DeviceTensor) for x in leaves)
    indexed = str(func).startswith(INDEXES) and isinstance(args[0], DeviceTensor)
    operands = tree_leaves((args[0], args[2:], kwargs)) if indexed else leaves
    scalars = 1 if str(func).startswith(NO_SCALARS) and not indexed else 0
    here = any(isinstance(x, Tensor) and not isinstance(x, DeviceTensor) and x.dim() + scalars > 0 for x in operands)
    if there and here and str(func) not in MOVES:
        raise RuntimeError(f"Expected all tensors to be on the same device, {NAME}:0 and cpu were given to {func}")
    device = kwargs.get("device")
    stays = is_pretended(device) if device is not None else there
    if stays and any(isinstance(x, torch.Generator) and x.device.type == "cpu" for x in leaves):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    given, options = tree_map(lambda x: x.held if isinstance(x, DeviceTensor) else x, (args, kwargs))
    result = func(*given, **options)
    if str(func) == "aten.copy_.default":
        return args[0]
    if not stays:
        return result
    result = tree_map(lambda x: DeviceTensor(x) if isinstance(x, Tensor) else x, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if there else result


class OnDevice(TorchDispatchMode):
    """Inside, `torch.zeros(3, device="pretended")` and its like make tensors of the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        mine = is_pretended(kwargs.get("device")) or any(
            isinstance(x, DeviceTensor) for x in tree_leaves((args, kwargs))
        )
        return call(func, args, kwargs) if mine else func(*args, **kwargs)


def register() -> torch.device:
    """Make the device known to this process; its generator is the CPU's."""

    class Module(backend_registration._DummyBackendModule):  # type: ignore[misc]
        def manual_seed(self, seed: int) -> None:
            torch.random.default_generator.manual_seed(seed)

        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16]

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    library = torch.library.Library("aten", "IMPL")
    globals()["_LIBRARY"] = library  # its kernels live as long as it does

    # What torch calls below the dispatch mode: `torch.tensor(1, device="pretended")` makes an empty one and copies.
    def empty_strided(size: Any, stride: Any, dtype: Any = None, **ignored: Any) -> Tensor:
        return DeviceTensor(torch.empty_strided(size, stride, dtype=dtype))

    def empty(size: Any, dtype: Any = None, memory_format: Any = None, **ignored: Any) -> Tensor:
        return DeviceTensor(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))

    def copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
        source, held = (x.held if isinstance(x, DeviceTensor) else x for x in (source, target))
        held.copy_(source)
        return target

    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("_copy_from", copy_from, "PrivateUse1")
    torch.__future__.set_swap_module_params_on_conversion(True)  # a moved parameter stays the same object, as on CUDA
    return torch.device(NAME, 0)
