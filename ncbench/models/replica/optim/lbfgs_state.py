"""What L-BFGS on an ensemble carries from one round to the next: it is in the checkpoint, chunks are cut from it."""

import torch
from torch import Tensor, nn

__all__ = ["CONVERGED", "RUNNING", "STALLED", "LBFGSState"]

RUNNING, CONVERGED, STALLED = 0, 1, 2


class LBFGSState(nn.Module):
    """All that R minimisations carry from one round to the next, as buffers (they are in the checkpoint).

    Shapes: x, g, d (R, P); f, slope, t (R,); lo, hi (R, 3) the step, value and slope at the ends of the bracket (hi:
    step infinite while none is known); S, Y (R, m, P) with the slot of the next pair in `head`, products (R, m, m) by
    slots; `count` pairs, `tries` of the line search, `fresh` before the first evaluation, `code` RUNNING, CONVERGED or
    STALLED.
    """

    NAMES = (
        *("x", "g", "d", "f", "slope", "t", "lo", "hi", "S", "Y", "SY", "YY"),
        *("head", "count", "tries", "fresh", "code"),
    )

    def __init__(self, replicas: int, size: int, memory: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.memory = memory
        R, m = replicas, memory
        real = {"x": (R, size), "g": (R, size), "d": (R, size), "f": (R,), "slope": (R,), "t": (R,), "lo": (R, 3)}
        real |= {"hi": (R, 3), "S": (R, m, size), "Y": (R, m, size), "SY": (R, m, m), "YY": (R, m, m)}
        for name, shape in real.items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))
        for name in ("head", "count", "tries", "code"):
            self.register_buffer(name, torch.zeros(R, dtype=torch.int64))
        self.register_buffer("fresh", torch.ones(R, dtype=torch.bool))

    def restart(self, x: Tensor) -> None:
        """Begin again at x (R, P), all replicas running and without memory."""
        for name in self.NAMES:
            getattr(self, name).zero_()
        self.get_buffer("x").copy_(x)
        self.get_buffer("fresh").fill_(True)

    def take(self, index: Tensor) -> dict[str, Tensor]:
        """Copies of everything of some replicas."""
        return {name: self.get_buffer(name)[index] for name in self.NAMES}

    def put(self, index: Tensor, local: dict[str, Tensor]) -> None:
        """Write back what `take` copied."""
        for name, values in local.items():
            self.get_buffer(name).index_copy_(0, index, values)
