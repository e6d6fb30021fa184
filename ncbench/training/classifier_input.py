"""The last linear map of a network that has no head of ours: what it gets, and the precision in which it works."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ncbench.measure.hooks import first_tensor

__all__ = ["ClassifierInput", "single_at_least"]


class ClassifierInput:
    """While `kept()` is open the module works in float32 whatever autocast says, and `features` is its input.

    The input is the first tensor that it is called with, by position or by keyword; None where it was not called.

    As with our own head: the classifier costs next to nothing, and its collapse is what is measured. Outside nothing
    changes, and no tensor is kept, so that the network can be copied.
    """

    def __init__(self, classifier: nn.Module) -> None:
        self.features: Tensor | None = None
        self._open = False
        self._contexts: list[Any] = []
        classifier.register_forward_pre_hook(self._before, with_kwargs=True)
        classifier.register_forward_hook(self._after, always_call=True)

    @contextmanager
    def kept(self) -> Iterator["ClassifierInput"]:
        """Open for one call of the network."""
        self._open = True
        try:
            yield self
        finally:
            self._open, self.features = False, None

    def _before(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        x = first_tensor([args, kwargs]) if self._open else None
        if x is None:
            return None
        context = torch.autocast(x.device.type, enabled=False)
        context.__enter__()  # type: ignore[no-untyped-call]
        self._contexts.append(context)
        self.features = features = single_at_least(x)
        given = {name: features if value is x else value for name, value in kwargs.items()}
        return tuple(features if value is x else value for value in args), given

    def _after(self, *_: Any) -> None:
        if self._contexts:
            self._contexts.pop().__exit__(None, None, None)


def single_at_least(x: Tensor) -> Tensor:
    """x in float32 where it has half the digits."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
