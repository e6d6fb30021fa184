"""Limited-memory BFGS on an ensemble: every replica has its own line search, and only the arithmetic is shared.

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
from torch import Tensor

from ncbench.models.replica.optim.lbfgs_state import CONVERGED, RUNNING, STALLED
from ncbench.models.replica.optim.trial_step import interpolated, lengthened

__all__ = ["Problem", "minimise"]

C1, C2 = 1e-4, 0.9
ROUNDING = 64  # units of the precision within which two values of F are the same
TRIES = 20  # evaluations of a line search; then the memory is dropped, and with an empty memory the replica is stalled
BISECT = 6  # tries after which a bracket is halved instead of interpolated

Problem = Callable[[Tensor, Tensor], Tensor]  # (flat, gradient to write) -> values


@torch.no_grad()
def minimise(
    local: dict[str, Tensor], problem: Problem, rounds: int, tolerance: float, first_step: float = 1.0
) -> None:
    """So many rounds of the replicas in `local` (of `LBFGSState.take`), in place.

    A replica stands still from max |gradient| <= tolerance on, or when a line search along the gradient itself fails.
    `first_step` is the length of the first step along a gradient, and the bound of its norm.
    """
    minimisation = _Minimisation(local, problem, tolerance, first_step)
    for _ in range(rounds):
        if not bool((local["code"] == RUNNING).any()):
            return
        minimisation.round()


class _Trial(NamedTuple):
    """A trial point x (R, P) with its value f (R,), gradient g (R, P) and slope g . d (R,)."""

    x: Tensor
    f: Tensor
    g: Tensor
    slope: Tensor


class _Minimisation:
    """The arithmetic of a round on the state `s` of some replicas, whose names are those of `LBFGSState`."""

    def __init__(self, local: dict[str, Tensor], problem: Problem, tolerance: float, first_step: float) -> None:
        self.s, self.problem, self.tolerance, self.first_step = local, problem, tolerance, first_step
        self.gradient = torch.zeros_like(local["x"])
        self.rows = torch.arange(len(local["x"]), device=local["x"].device)
        self.eps = torch.finfo(local["x"].dtype).eps

    def round(self) -> None:
        """One evaluation of every replica at x + t d; each either moves there or searches on."""
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
        """Whether each trial step ends its line search, (R,) bool: the conditions of the module's docstring."""
        s = self.s
        # Strong Wolfe: F has fallen enough, and the slope is flat enough.
        enough = trial.f <= s["f"] + C1 * s["t"] * s["slope"]
        flat = trial.slope.abs() <= -C2 * s["slope"]
        # Hager & Zhang: within rounding F is the same, and the slopes alone say that the step was good.
        same = trial.f <= s["f"] + ROUNDING * self.eps * s["f"].abs()
        approximate = same & (trial.slope >= C2 * s["slope"]) & (trial.slope <= (2 * C1 - 1) * s["slope"])
        # The very first evaluation is at x itself (t = 0), there is nothing to compare it with.
        good: Tensor = s["fresh"] | (enough & flat) | approximate
        return good & trial.f.isfinite()

    def _accept(self, trial: _Trial, accepted: Tensor) -> None:
        """Move to the trial point, remember the pair, and choose the next direction."""
        s = self.s
        # The pair s = t d, y = g' - g goes into the next slot, unless its curvature s . y is lost to rounding: the
        # inverse matrix stays positive definite with positive curvatures only.
        curvature = s["t"] * (trial.slope - s["slope"])
        good = accepted & ~s["fresh"] & (curvature > -self.eps * s["t"] * s["slope"])
        slots = s["head"]
        at = good.nonzero()[:, 0]
        s["S"][at, slots[at]] = (s["t"][:, None] * s["d"])[at]
        s["Y"][at, slots[at]] = (trial.g - s["g"])[at]
        # The accepted replicas move; where all do, the two gradient buffers change places instead of being copied.
        s["x"] = _chosen(accepted, trial.x, s["x"])
        s["f"] = _chosen(accepted, trial.f, s["f"])
        if bool(accepted.all()):
            s["g"], self.gradient = self.gradient, s["g"]
        else:
            s["g"] = _chosen(accepted, trial.g, s["g"])
        s["fresh"] = s["fresh"] & ~accepted
        s["code"][accepted & (s["g"].abs().amax(1) <= self.tolerance)] = CONVERGED
        # The new row and column of S Y^T and Y Y^T, and S g and Y g, which the direction needs.
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
        # The slots in the order of their age, and which of them hold a pair: the latest `count` of them.
        order = (s["head"][:, None] + torch.arange(m, device=g.device)) % m  # slots from the oldest pair to the latest
        held = torch.arange(m, device=g.device) >= m - s["count"].clamp_max(m)[:, None]
        # R and Y Y^T by age. Where a slot is empty, R is the identity and Y Y^T zero, so it takes no part.
        across = order[:, None, :].expand(-1, m, -1)
        R = s["SY"].gather(1, order[:, :, None].expand(-1, -1, m)).gather(2, across)
        YY = s["YY"].gather(1, order[:, :, None].expand(-1, -1, m)).gather(2, across)
        both = held[:, :, None] & held[:, None, :]
        eye = torch.eye(m, dtype=g.dtype, device=g.device)
        R = torch.where(both, R, eye).triu_()
        YY = torch.where(both, YY, torch.zeros_like(YY))
        p, q = (along.gather(1, order) * held for along in (Sg, Yg))
        # gamma = s.y / y.y of the latest pair, 1 without memory.
        D, latest = R.diagonal(dim1=1, dim2=2), YY[:, -1, -1]
        empty = s["count"] == 0
        gamma = torch.where(empty, 1.0, D[:, -1] / torch.where(empty, 1.0, latest))[:, None]
        # u = R^-1 S g and a = R^-T ((D + gamma Y Y^T) u - gamma Y g), then both back in the order of the slots.
        u = torch.linalg.solve_triangular(R, p[:, :, None], upper=True)[:, :, 0]
        right = D * u + gamma * ((YY * u[:, None]).sum(2) - q)
        a = torch.linalg.solve_triangular(R.mT, right[:, :, None], upper=False)[:, :, 0]
        a, u = (torch.zeros_like(c).scatter_(1, order, c * held) for c in (a, u))
        # d = -(gamma g + S^T a - gamma Y^T u)
        direction = torch.bmm(a[:, None], s["S"])[:, 0]
        direction.addcmul_(gamma, torch.bmm(u[:, None], s["Y"])[:, 0], value=-1.0)
        direction.addcmul_(gamma, g).neg_()
        return direction

    def _begin(self, chosen: Tensor, direction: Tensor) -> None:
        """A new line search of the chosen replicas; one that would not go down starts along the gradient."""
        s = self.s
        g = s["g"]
        # A quasi-Newton step is tried at its full length.
        slope = torch.linalg.vecdot(g, direction)
        t = torch.ones_like(slope)
        # A direction that does not go down drops the memory; without memory it is the steepest one, and its first step
        # is at most `first_step` long.
        s["count"] = torch.where(chosen & ~(slope < 0), 0, s["count"])
        steepest = s["count"] == 0
        if bool(steepest.any()):
            size = torch.linalg.vector_norm(g, dim=1)
            direction = torch.where(steepest[:, None], -g, direction)
            slope = torch.where(steepest, -size.square(), slope)
            t = torch.where(steepest, self.first_step / size.clamp_min(1.0), t)
        # The bracket is open: from here, step 0, to a step that is not known yet.
        zero = torch.zeros_like(t)
        begun = {"d": direction, "slope": slope, "t": t, "tries": torch.zeros_like(s["tries"])}
        begun |= {"lo": torch.stack([zero, s["f"], slope], 1), "hi": torch.stack([zero + torch.inf, zero, zero], 1)}
        for name, new in begun.items():
            s[name] = _chosen(chosen, new, s[name])

    def _search(self, trial: _Trial, searching: Tensor) -> None:
        """The next trial step of the replicas whose step was not accepted."""
        s = self.s
        # A step that has fallen enough and still goes down is the bracket's lower end, any other its upper end.
        point = torch.stack([s["t"], trial.f, trial.slope], 1)
        enough = trial.f <= s["f"] + C1 * s["t"] * s["slope"]
        down = enough & (trial.slope < 0) & trial.f.isfinite()
        wider = lengthened(point, s["lo"])
        s["lo"] = _chosen(searching & down, point, s["lo"])
        s["hi"] = _chosen(searching & ~down, point, s["hi"])
        # Farther while there is no upper end, then inside the bracket.
        inside = interpolated(s["lo"], s["hi"], bisect=s["tries"] >= BISECT)
        s["t"] = _chosen(searching, torch.where(s["hi"][:, 0].isinf(), wider, inside), s["t"])
        s["tries"] += searching
        # After too many tries the memory is dropped; a search along the gradient itself has nothing left to drop.
        failed = searching & (s["tries"] >= TRIES)
        if bool(failed.any()):
            s["code"][failed & ((s["count"] == 0) | s["fresh"])] = STALLED
            s["count"][failed] = 0
            self._begin(failed, -s["g"])


def _chosen(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` of the chosen replicas, `old` of the others; `new` itself where all are chosen."""
    if bool(chosen.all()):
        return new
    return torch.where(chosen.view(-1, *[1] * (new.ndim - 1)), new, old)
