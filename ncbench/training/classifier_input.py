"""The last linear map of a network that has no head of ours: what it gets, and the precision in which it works."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ClassifierInput", "single_at_least"]


class ClassifierInput:
    """While `kept()` is open the module works in float32 whatever autocast says, and `features` is its input.

    As with our own head: the classifier costs next to nothing, and its collapse is what is measured. Outside nothing
    changes, and no tensor is kept, so that the network can be copied.
    """

    def __init__(self, classifier: nn.Module) -> None:
        self.features: Tensor | None = None
        self._open = False
        self._contexts: list[Any] = []
        classifier.register_forward_pre_hook(self._before)
        classifier.register_forward_hook(self._after, always_call=True)

    @contextmanager
    def kept(self) -> Iterator["ClassifierInput"]:
        """Open for one call of the network."""
        self._open = True
        try:
            yield self
        finally:
            self._open, self.features = False, None

    def _before(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self._open or not args or not isinstance(args[0], Tensor):
            return None
        context = torch.autocast(args[0].device.type, enabled=False)
        context.__enter__()  # type: ignore[no-untyped-call]
        self._contexts.append(context)
        self.features = single_at_least(args[0])
        return (self.features, *args[1:])

    def _after(self, *_: Any) -> None:
        if self._contexts:
            self._contexts.pop().__exit__(None, None, None)


def single_at_least(x: Tensor) -> Tensor:
    """x in float32 where it has half the digits."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
