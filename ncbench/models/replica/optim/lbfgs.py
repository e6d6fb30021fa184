"""Limited-memory BFGS on a stack of networks: every replica has its own line search, and only the arithmetic is shared.

In one round every running replica evaluates its objective and gradient once, at its own trial step. Those whose step is
accepted take a new direction; the others shorten, lengthen or interpolate theirs. So no replica waits for another, and
each makes the steps that it would make alone.

Direction: the compact form of the inverse matrix, with its m latest pairs s = x' - x, y = g' - g as rows of S and Y,
R the upper triangle of S Y^T (s_i . y_j, i <= j), D its diagonal, gamma = s.y / y.y of the latest pair,

    d = -(gamma g + S^T a - gamma Y^T u),   u = R^-1 S g,   a = R^-T ((D + gamma Y Y^T) u - gamma Y g)

(Byrd, Nocedal & Schnabel, Mathematical Programming 63, 1994, Theorem 2.2). Acceptance: the strong Wolfe conditions with
c_1 = 1e-4, c_2 = 0.9 or, where differences of F are lost to rounding, the approximate ones of Hager & Zhang (SIAM J.
Optim. 16, 2005, equation 4.1) with F(trial) <= F + 64 eps |F|: without these no gradient gets below the square root of
the precision.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["LBFGSState", "minimise"]

C1, C2 = 1e-4, 0.9
ROUNDING = 64  # units of the precision within which two values of F are the same
TRIES = 20  # evaluations of a line search; then the memory is dropped, and with an empty memory the replica is stalled
WIDEN = 10.0  # a step that is still going down is lengthened by at most this
BISECT = 6  # tries after which a bracket is halved instead of interpolated
RUNNING, CONVERGED, STALLED = 0, 1, 2

Problem = Callable[[Tensor, Tensor], Tensor]  # (flat, gradient to write) -> values


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


@torch.no_grad()
def minimise(
    local: dict[str, Tensor], problem: Problem, rounds: int, tolerance: float, first_step: float = 1.0
) -> None:
    """So many rounds of the replicas in `local` (of `LBFGSState.take`), in place.

    A replica stands still from max |gradient| <= tolerance on, or when a line search along the gradient itself fails.
    `first_step` is the length of the first step along a gradient, and the bound of its norm.
    """
    one = _Minimisation(local, problem, tolerance, first_step)
    for _ in range(rounds):
        if not bool((local["code"] == RUNNING).any()):
            return
        one.round()


class _Trial(NamedTuple):
    x: Tensor
    f: Tensor
    g: Tensor
    slope: Tensor


class _Minimisation:
    def __init__(self, local: dict[str, Tensor], problem: Problem, tolerance: float, first_step: float) -> None:
        self.s, self.problem, self.tolerance, self.first_step = local, problem, tolerance, first_step
        self.gradient = torch.zeros_like(local["x"])
        self.rows = torch.arange(len(local["x"]), device=local["x"].device)
        self.eps = torch.finfo(local["x"].dtype).eps

    def round(self) -> None:
        s = self.s
        x = torch.addcmul(s["x"], s["t"][:, None], s["d"])
        f = self.problem(x, self.gradient)
        trial = _Trial(x, f, self.gradient, torch.linalg.vecdot(self.gradient, s["d"]))
        running = s["code"] == RUNNING
        accepted = self._acceptable(trial) & running
        if bool(accepted.any()):
            self._accept(trial, accepted)
        if bool((running & ~accepted).any()):
            self._search(trial, running & ~accepted)

    def _acceptable(self, trial: _Trial) -> Tensor:
        s = self.s
        enough = trial.f <= s["f"] + C1 * s["t"] * s["slope"]
        flat = trial.slope.abs() <= -C2 * s["slope"]
        same = trial.f <= s["f"] + ROUNDING * self.eps * s["f"].abs()
        approximate = same & (trial.slope >= C2 * s["slope"]) & (trial.slope <= (2 * C1 - 1) * s["slope"])
        good: Tensor = s["fresh"] | (enough & flat) | approximate
        return good & trial.f.isfinite()

    def _accept(self, trial: _Trial, accepted: Tensor) -> None:
        """Move to the trial point, remember the pair, and choose the next direction."""
        s = self.s
        curvature = s["t"] * (trial.slope - s["slope"])  # s . y
        good = accepted & ~s["fresh"] & (curvature > -self.eps * s["t"] * s["slope"])
        slots = s["head"]
        at = good.nonzero()[:, 0]
        s["S"][at, slots[at]] = (s["t"][:, None] * s["d"])[at]
        s["Y"][at, slots[at]] = (trial.g - s["g"])[at]
        s["x"] = _chosen(accepted, trial.x, s["x"])
        s["f"] = _chosen(accepted, trial.f, s["f"])
        if bool(accepted.all()):
            s["g"], self.gradient = self.gradient, s["g"]
        else:
            s["g"] = _chosen(accepted, trial.g, s["g"])
        s["fresh"] = s["fresh"] & ~accepted
        s["code"][accepted & (s["g"].abs().amax(1) <= self.tolerance)] = CONVERGED
        columns = torch.stack([s["Y"][self.rows, slots], s["g"]], 2)  # one reading of the memory for both
        along_S, along_Y = torch.bmm(s["S"], columns), torch.bmm(s["Y"], columns)
        s["SY"][at, :, slots[at]] = along_S[at, :, 0]
        s["YY"][at, :, slots[at]] = along_Y[at, :, 0]
        s["YY"][at, slots[at], :] = along_Y[at, :, 0]
        s["count"] += good
        s["head"] = torch.where(good, (slots + 1) % s["S"].shape[1], slots)
        self._begin(accepted, self._direction(along_S[:, :, 1], along_Y[:, :, 1]))

    def _direction(self, Sg: Tensor, Yg: Tensor) -> Tensor:
        """-H g of every replica from S g and Y g (R, m); -g without memory."""
        s, m = self.s, self.s["S"].shape[1]
        g = s["g"]
        order = (s["head"][:, None] + torch.arange(m, device=g.device)) % m  # slots from the oldest pair to the latest
        held = torch.arange(m, device=g.device) >= m - s["count"].clamp_max(m)[:, None]
        across = order[:, None, :].expand(-1, m, -1)
        R = s["SY"].gather(1, order[:, :, None].expand(-1, -1, m)).gather(2, across)
        YY = s["YY"].gather(1, order[:, :, None].expand(-1, -1, m)).gather(2, across)
        both = held[:, :, None] & held[:, None, :]
        eye = torch.eye(m, dtype=g.dtype, device=g.device)
        R = torch.where(both, R, eye).triu_()
        YY = torch.where(both, YY, torch.zeros_like(YY))
        p, q = (along.gather(1, order) * held for along in (Sg, Yg))
        D, latest = R.diagonal(dim1=1, dim2=2), YY[:, -1, -1]
        empty = s["count"] == 0
        gamma = torch.where(empty, 1.0, D[:, -1] / torch.where(empty, 1.0, latest))[:, None]
        u = torch.linalg.solve_triangular(R, p[:, :, None], upper=True)[:, :, 0]
        right = D * u + gamma * ((YY * u[:, None]).sum(2) - q)
        a = torch.linalg.solve_triangular(R.mT, right[:, :, None], upper=False)[:, :, 0]
        a, u = (torch.zeros_like(c).scatter_(1, order, c * held) for c in (a, u))
        found = torch.bmm(a[:, None], s["S"])[:, 0]
        found.addcmul_(gamma, torch.bmm(u[:, None], s["Y"])[:, 0], value=-1.0)
        found.addcmul_(gamma, g).neg_()
        return found

    def _begin(self, chosen: Tensor, direction: Tensor) -> None:
        """A new line search of the chosen replicas; one that would not go down starts along the gradient."""
        s = self.s
        g = s["g"]
        slope = torch.linalg.vecdot(g, direction)
        t = torch.ones_like(slope)
        s["count"] = torch.where(chosen & ~(slope < 0), 0, s["count"])
        steepest = s["count"] == 0
        if bool(steepest.any()):
            size = torch.linalg.vector_norm(g, dim=1)
            direction = torch.where(steepest[:, None], -g, direction)
            slope = torch.where(steepest, -size.square(), slope)
            t = torch.where(steepest, self.first_step / size.clamp_min(1.0), t)
        zero = torch.zeros_like(t)
        begun = {"d": direction, "slope": slope, "t": t, "tries": torch.zeros_like(s["tries"])}
        begun |= {"lo": torch.stack([zero, s["f"], slope], 1), "hi": torch.stack([zero + torch.inf, zero, zero], 1)}
        for name, new in begun.items():
            s[name] = _chosen(chosen, new, s[name])

    def _search(self, trial: _Trial, searching: Tensor) -> None:
        """The next trial step of the replicas whose step was not accepted."""
        s = self.s
        here = torch.stack([s["t"], trial.f, trial.slope], 1)
        enough = trial.f <= s["f"] + C1 * s["t"] * s["slope"]
        down = enough & (trial.slope < 0) & trial.f.isfinite()
        wider = _lengthened(here, s["lo"])
        s["lo"] = _chosen(searching & down, here, s["lo"])
        s["hi"] = _chosen(searching & ~down, here, s["hi"])
        inside = _interpolated(s["lo"], s["hi"], bisect=s["tries"] >= BISECT)
        s["t"] = _chosen(searching, torch.where(s["hi"][:, 0].isinf(), wider, inside), s["t"])
        s["tries"] += searching
        failed = searching & (s["tries"] >= TRIES)
        if bool(failed.any()):
            s["code"][failed & ((s["count"] == 0) | s["fresh"])] = STALLED
            s["count"][failed] = 0
            self._begin(failed, -s["g"])


def _lengthened(here: Tensor, lo: Tensor) -> Tensor:
    """Where a line through the last two slopes is zero, at least 2 and at most `WIDEN` times as far."""
    (t, _, slope), (before, _, steeper) = here.unbind(1), lo.unbind(1)
    secant = t - slope * (t - before) / (slope - steeper)
    secant = torch.where((slope > steeper) & secant.isfinite(), secant, torch.inf)
    return torch.minimum(torch.maximum(secant, 2 * t), WIDEN * t)


def _interpolated(lo: Tensor, hi: Tensor, bisect: Tensor) -> Tensor:
    """The minimum of the cubic through values and slopes at both ends, a tenth of the bracket away from them."""
    (a, fa, sa), (b, fb, sb) = lo.unbind(1), hi.unbind(1)
    width = b - a
    d1 = sa + sb - 3 * (fb - fa) / width
    d2 = (d1.square() - sa * sb).sqrt()
    cubic = b - width * (sb + d2 - d1) / (sb - sa + 2 * d2)
    middle = a + width / 2
    t = torch.where(cubic.isfinite() & ~bisect, cubic, middle)
    return torch.minimum(torch.maximum(t, a + width / 10), b - width / 10)


def _chosen(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` of the chosen replicas, `old` of the others; `new` itself where all are chosen."""
    if bool(chosen.all()):
        return new
    return torch.where(chosen.view(-1, *[1] * (new.ndim - 1)), new, old)
