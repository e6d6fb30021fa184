"""A training step that takes less time or memory and minimises the same function.

in_micro_batches   the gradient of a large batch as a sum over parts of it
compile_parts      torch.compile of what the training step calls
StepGraph          the kernels of a step recorded once as a CUDA graph, which launches them all at once
Fused              an optimiser whose step is one kernel
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Fused", "StepGraph", "compile_parts", "in_micro_batches"]

MakeOptimizer = Callable[[Iterable[Any]], torch.optim.Optimizer]


def in_micro_batches(
    batch_loss: Callable[[tuple[Tensor, Tensor]], Tensor], batch: tuple[Tensor, Tensor], size: int, module: nn.Module
) -> Tensor:
    """The loss of a batch of b samples, whose gradients are made in parts of at most `size` samples.

    `batch_loss` of a part of m samples is a mean over them, the feature term's N/m included; weighted by m/b the parts
    add up to the batch's own loss and gradient, whatever the size of the last part. What the network computes from its
    batch is that of a part: batch normalisation takes the statistics of m samples, and moves its running ones with each
    part.

    The gradients are made here, a part at a time, so that the activations of one part are all that is held. The loss
    that is returned carries them: its backward pass hands them out, and takes no time.

    Raises ValueError for inputs that are not one tensor.
    """
    inputs, labels = batch
    if not isinstance(inputs, Tensor):
        raise ValueError(f"micro_batch={size} divides batches of tensors only, and these inputs are {type(inputs)}")
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    value = torch.zeros((), device=labels.device)
    sums: list[Tensor | None] = [None] * len(parameters)
    for part in zip(torch.split(inputs, size), torch.split(labels, size), strict=True):
        loss, gradients = _value_and_gradients(batch_loss, part, parameters, len(part[1]) / len(labels))
        sums = [_plus(total, gradient) for total, gradient in zip(sums, gradients, strict=True)]
        value = value + loss
    carried: Tensor = _WithGradients.apply(value, sums, *parameters)
    return carried


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return gradient if total is None else total
    return total + gradient  # not in place: autograd may hand out one tensor for two parameters


class _WithGradients(torch.autograd.Function):
    """A number whose gradients with respect to some parameters are known; None where it does not depend on one."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        """`value`, of which `gradients` are remembered."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """The remembered gradients times the outer derivative."""
        known = [x for x in ctx.gradients if x is not None]
        scaled = iter(torch._foreach_mul(known, outer[0]) if known else ())
        return None, None, *(None if x is None else next(scaled) for x in ctx.gradients)


class StepGraph:
    """Loss and gradients of a batch by a CUDA graph: one launch instead of the hundreds of a network of small layers.

    Batches of one shape use one graph. It is recorded when the shape comes for the third time: the first two set
    libraries up, and a shape that comes but once (the last batch of an epoch) waits for its second and third epoch.
    Every step, recorded or not, computes with the kernels that it had without this class. A graph reads and writes the
    addresses it was recorded with, so that parameters and buffers have to stay in place, as training leaves them.
    """

    WARM = 2

    def __init__(self) -> None:
        self._seen: dict[Any, int] = {}
        self._graphs: dict[Any, tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor, list[Tensor | None]]] = {}
        self._stream: torch.cuda.Stream | None = None

    def __call__(
        self,
        batch_loss: Callable[[tuple[Tensor, Tensor]], Tensor],
        batch: tuple[Tensor, Tensor],
        module: nn.Module,
    ) -> Tensor:
        """The loss of a batch; its backward pass hands the gradients out.

        Raises ValueError where the batch is not on a CUDA device.
        """
        inputs, labels = batch
        if not (isinstance(inputs, Tensor) and inputs.is_cuda):
            raise ValueError("cuda_graph=True: batches have to be tensors on a CUDA device")
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        key = (inputs.shape, inputs.dtype, inputs.stride(), labels.shape)
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        if seen <= self.WARM:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                value, gradients = _value_and_gradients(batch_loss, (inputs, labels), parameters)
            torch.cuda.current_stream().wait_stream(self._stream)
        else:
            if key not in self._graphs:
                self._graphs[key] = self._record(batch_loss, inputs.clone(), labels.clone(), parameters)
            graph, own_inputs, own_labels, value, gradients = self._graphs[key]
            own_inputs.copy_(inputs)
            own_labels.copy_(labels)
            graph.replay()
        carried: Tensor = _WithGradients.apply(value, gradients, *parameters)
        return carried

    def _record(
        self,
        batch_loss: Callable[[tuple[Tensor, Tensor]], Tensor],
        inputs: Tensor,
        labels: Tensor,
        parameters: Sequence[nn.Parameter],
    ) -> Any:
        # Weights in reduced precision are made anew in every replay, not kept from before the recording.
        torch.clear_autocast_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            value, gradients = _value_and_gradients(batch_loss, (inputs, labels), parameters)
        torch.clear_autocast_cache()
        return graph, inputs, labels, value, gradients


def _value_and_gradients(
    batch_loss: Callable[[tuple[Tensor, Tensor]], Tensor],
    batch: tuple[Tensor, Tensor],
    parameters: Sequence[nn.Parameter],
    weight: float = 1.0,
) -> tuple[Tensor, list[Tensor | None]]:
    loss = batch_loss(batch) * weight
    # Mixed precision is for the forward pass; the backward pass follows the precision that it had.
    with torch.autocast(loss.device.type, enabled=False):
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return loss.detach(), list(gradients)


def compile_parts(network: nn.Module) -> None:
    """Compile `features` and `head` of a network in place, so that no parameter gets another name.

    Measuring is not affected: it runs without compiled code (see `ncbench.measure.evaluation_mode`). A small function
    is compiled first, as what the machine lacks (a C++ compiler on a CPU, Triton on a GPU) would only come to light in
    the first step. Raises ValueError (one line) there, and for a network without these parts.
    """
    parts = [getattr(network, name, None) for name in ("features", "head")]
    if not all(isinstance(part, nn.Module) for part in parts):
        raise ValueError("compile=True needs a network with the parts features and head (a backbone of this package)")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ValueError(f"compile=True: torch.compile does not work here ({reason})") from error
    for part in parts:
        assert isinstance(part, nn.Module)
        part.compile()


class Fused:
    """Makes an optimiser with `fused=True` where that is wanted and its class has it.

    `wanted` None is for parameters on a CUDA device only, where it saves launches. A fused step rounds differently.
    Raises ValueError where True is asked of a class that has none.
    """

    def __init__(self, make: MakeOptimizer, wanted: bool | None) -> None:
        self.make, self.wanted = make, wanted
        kind = make.func if isinstance(make, partial) else make
        self.possible = "fused" in inspect.signature(kind).parameters
        if wanted and not self.possible:
            raise ValueError(f"fused=True: {getattr(kind, '__name__', kind)} has no fused step")

    def __call__(self, groups: Iterable[Any]) -> torch.optim.Optimizer:
        """The optimiser of these groups of parameters."""
        listed = list(groups)
        on_gpu = any(parameter.is_cuda for group in listed for parameter in group["params"])
        wanted = (on_gpu and self.possible) if self.wanted is None else self.wanted
        options = {"fused": True} if wanted else {}
        return self.make(listed, **options)
