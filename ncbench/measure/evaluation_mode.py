"""The state of a network while it is measured, and everything as it was afterwards."""

import inspect
import logging
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from ncbench.measure.batches import Batches, call
from ncbench.measure.distributed import ProcessGroup

__all__ = ["evaluation", "one_network", "reestimated"]

_log = logging.getLogger(__name__)

MOST_ROUNDING = 0.02  # of merging and unmerging weights in bfloat16, relative to the largest entry


@contextmanager
def evaluation(model: nn.Module, loaders: Iterable[Any] = ()) -> Iterator[None]:
    """Evaluation mode, no gradients, no compiled code; modes and random generators are restored afterwards.

    Python's, numpy's and torch's generators (of the CPU and of the model's GPUs) are restored because an ordinary
    DataLoader draws from them on every pass, and transforms may; so are the generators that `loaders` and their
    samplers have been given, which the training may draw from too. What torch.compile made runs uncompiled here: hooks
    that are registered after the compilation would silently never be called.
    """
    training_flags = [(module, module.training) for module in model.modules()]
    own = [_OwnTrain(module) for module in model.modules() if _has_own_train(module)]
    generators = [(generator, generator.get_state()) for generator in _generators(loaders)]
    gpus = sorted(
        {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    )
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is what others draw from
    with ExitStack() as contexts:
        contexts.enter_context(torch.random.fork_rng(devices=gpus))
        contexts.enter_context(torch.inference_mode(False))
        contexts.enter_context(torch.no_grad())
        contexts.enter_context(_uncompiled())
        try:
            model.eval()
            yield
        finally:
            for switched in own:
                switched.restore()
            for module, training in training_flags:
                module.training = training
            for generator, state in generators:
                generator.set_state(state)
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def reestimated(model: nn.Module, batches: Batches, group: ProcessGroup) -> Iterator[None]:
    """The running statistics of every batch normalisation estimated anew from `batches`, and restored afterwards.

    As `torch.optim.swa_utils.update_bn`: one pass in which batch normalisation alone is in training mode; the
    statistics are the averages over batches, weighted by their samples. They are exact for one batch; with more the
    variance misses that between the batches' means, so use large ones. Batches of one sample are left out.

    Raises ValueError where SyncBatchNorm would wait for processes that have fewer batches.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if group.size > 1 and any(isinstance(m, nn.SyncBatchNorm) for m in norms):
        raise ValueError("batch_norm=reestimate does not work with SyncBatchNorm under several processes; use eval")
    saved = [({k: v.clone() for k, v in m._buffers.items() if v is not None}, m.momentum) for m in norms]
    try:
        for m in norms:
            m.train()
        seen = 0
        for inputs, labels in batches:
            if len(labels) > 1:
                seen += len(labels)
                for m in norms:
                    m.momentum = len(labels) / seen  # the average over all samples so far
                call(model, inputs)
        for m in norms:
            m.eval()
            # Each process has averaged over its own samples: the average of all, weighted by their numbers.
            for buffer in (m.running_mean, m.running_var):
                assert buffer is not None
                count = group.total(torch.tensor([float(seen)], dtype=torch.float64, device=buffer.device))
                buffer.copy_(group.total(buffer.double() * seen) / count)
        yield
    finally:
        for m, (buffers, momentum) in zip(norms, saved, strict=True):
            m.momentum = momentum
            m.eval()
            for name, value in buffers.items():
                buffer = m._buffers[name]
                assert buffer is not None
                buffer.copy_(value)


@contextmanager
def one_network(model: nn.Module, group: ProcessGroup) -> Iterator[None]:
    """The buffers of process 0 on every process, restored afterwards.

    DDP keeps parameters equal, but the running statistics of batch normalisation are each process's own until the next
    training step overwrites them with those of process 0, which are also those of a checkpoint: without this the
    processes would measure different networks.
    """
    saved = [(buffer, buffer.clone()) for buffer in model.buffers()] if group.size > 1 else []
    try:
        for buffer, _ in saved:
            group.from_first(buffer)
        yield
    finally:
        for buffer, value in saved:
            buffer.copy_(value)


class _OwnTrain:
    """A module with a `train(mode)` of its own, which may do more than set flags.

    A low-rank adapter is merged into a weight for evaluation, and taken out of it for training.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.training = module, module.training
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        self.before = [(x, x.detach().clone()) for x in tensors if not is_lazy(x)]

    def restore(self) -> None:
        """Switch it back by its own method; tensors that are then the same but for rounding are the same."""
        try:
            self.module.train(self.training)
        except Exception as error:
            _log.warning("%s.train(%s) fails after measuring: %s", type(self.module).__name__, self.training, error)
        for x, value in self.before:
            other = x.shape == value.shape and x.is_floating_point() and not torch.equal(x, value)
            if other and (x - value).abs().max() <= MOST_ROUNDING * value.abs().max():
                x.copy_(value)


def _has_own_train(module: nn.Module) -> bool:
    """Whether it overrides `train` by a method that takes a mode, as `nn.Module.train` does."""
    if type(module).train is nn.Module.train:
        return False
    first = [*inspect.signature(type(module).train).parameters.values()][1:2]
    return any(parameter.name == "mode" or parameter.default is True for parameter in first)


def _generators(loaders: Iterable[Any]) -> list[torch.Generator]:
    """The generators of DataLoaders, of their samplers and of those inside them."""
    found: dict[int, torch.Generator] = {}
    for loader in loaders:
        batch_sampler = getattr(loader, "batch_sampler", None)
        for owner in (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
    return list(found.values())


def _uncompiled() -> AbstractContextManager[Any]:
    if "torch._dynamo" not in sys.modules:  # nothing was compiled in this process, and the import takes seconds
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
