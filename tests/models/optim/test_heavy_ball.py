"""The engine against autograd and torch.optim, over chunks and threads, and with bugs planted in it."""

import pytest
import torch

from ncbench.models.replica import DUFM, FullBatchDescent
from ncbench.models.replica.optim import dufm_gradient as gradient
from ncbench.models.replica.optim import heavy_ball as descent

K, N_PER_CLASS, DEPTH = 4, 3, 3
LABELS = torch.arange(K).repeat_interleave(N_PER_CLASS)
R = 5
DECAYS = torch.tensor([[2e-3, 3e-3, 1e-3], [1e-3] * 3, [0.0] * 3, [4e-3, 1e-3, 2e-3], [5e-3] * 3]).double()
FEATURE_DECAYS = torch.tensor([1e-3, 2e-3, 0.0, 3e-3, 1e-3], dtype=torch.float64)
RATES = torch.tensor([0.1, 0.05, 0.2, 0.15, 0.1], dtype=torch.float64)
NARROW, WIDE = (7, 5, 6), (13, 6, 7)  # 12 samples fill a register better than 7 entries and worse than 13
SCALES = [0.7, 1.0, 0.9, 0.8, 1.1]


def ensemble(activation="relu", width=NARROW, dtype=torch.float64, replicas=range(R)):
    return DUFM(
        depth=DEPTH,
        width=width,
        activation=activation,
        init_scale=[SCALES[i] for i in replicas],
        num_classes=K,
        num_samples=len(LABELS),
        seeds=[10 + i for i in replicas],
        dtype=dtype,
    )


def engine(model, loss="mse", momentum=0.9, kind=FullBatchDescent, replicas=range(R), **options):
    chosen = list(replicas)
    return kind(
        model,
        LABELS,
        loss=loss,
        weight_decays=DECAYS[chosen],
        feature_decays=FEATURE_DECAYS[chosen],
        rates=RATES[chosen],
        momentum=momentum,
        **options,
    )


def advanced(model, steps, blocks=1, running=None, **options):
    """The parameters after so many steps in equal blocks."""
    descends = engine(model, **options)
    momenta = [torch.zeros_like(p) for p in descends.parameters] if options.get("momentum", 0.9) else []
    chosen = torch.arange(model.replicas) if running is None else torch.tensor(running)
    for _ in range(blocks):
        descends.advance(steps // blocks, momenta, chosen)
    return [p.clone() for p in descends.parameters]


def by_autograd(replica, steps, activation, loss, momentum, width=NARROW):
    """One replica by autograd and torch.optim.SGD, written out once more from the papers."""
    parameters = [
        p.detach()[0].clone().requires_grad_() for p in ensemble(activation, width, replicas=[replica]).parameters()
    ]
    H, *Ws = parameters
    decays = [FEATURE_DECAYS[replica], *DECAYS[replica]]
    groups = [{"params": [p], "weight_decay": float(decay)} for p, decay in zip(parameters, decays, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=float(RATES[replica]), momentum=momentum)
    for _ in range(steps):
        x = H
        for W in Ws[:-1]:
            x = x @ W.T
            x = torch.relu(x) if activation == "relu" else x
        outputs = x @ Ws[-1].T
        if loss == "mse":
            fit = (outputs - torch.eye(K, dtype=outputs.dtype)[LABELS]).square().sum() / (2 * len(LABELS))
        else:
            fit = torch.nn.functional.cross_entropy(outputs, LABELS)
        optimizer.zero_grad()
        fit.backward()
        optimizer.step()
    return [p.detach() for p in parameters]


def distance(ours, theirs, replica):
    """The largest relative distance of a replica's matrices."""
    return max(
        float(torch.linalg.norm(a[replica] - b) / torch.linalg.norm(b)) for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_a_thousand_steps_equal_autograd_and_torch_optim(loss, activation, momentum, width):
    ours = advanced(ensemble(activation, width), 1000, loss=loss, momentum=momentum)
    for replica in range(R):
        theirs = by_autograd(replica, 1000, activation, loss, momentum, width)
        assert distance(ours, theirs, replica) <= 1e-10


def test_samples_lie_along_the_rows_or_the_columns_whichever_fills_registers_better():
    assert [engine(ensemble(width=width)).columns for width in (NARROW, WIDE)] == [True, False]


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    [
        (descent, "_add(self.m, self.decay, self.p)", "pass"),
        (descent, "feature_decays, *weight_decays.unbind(1)]", "feature_decays, *weight_decays.flip(1).unbind(1)]"),
        (descent, "owner.decays[index], owner.rates[index]", "owner.decays[index], owner.rates.roll(1)[index]"),
        (descent, "keep=self.momentum", "keep=self.momentum**2"),
        (descent, "chunk.load(momenta, chunk.momenta)", "pass"),
        (descent, "chunk.save(chunk.momenta, momenta)", "pass"),
        (gradient, "self.H[l], 0.0, grad", "self.H[l], -1.0, grad"),
        (gradient, "self.H[l], 0.0, grad", "self.H[l], 1e-2, grad"),
        (gradient, "baddbmm_(*self.weights[l], beta=keep)", "baddbmm_(*self.weights[l])"),
        (gradient, "alpha=self.factor", "alpha=2 * self.factor"),
    ],
)
def test_planted_bugs_are_found(module, right, wrong, mutant, monkeypatch):
    bad = mutant(module, right, wrong)
    kind = bad.FullBatchDescent if module is descent else FullBatchDescent
    if module is gradient:
        monkeypatch.setattr(descent, "FitGradient", bad.FitGradient)
    ours = advanced(ensemble(), 100, blocks=4, kind=kind)
    errors = [distance(ours, by_autograd(replica, 100, "relu", "mse", 0.9), replica) for replica in range(R)]
    assert max(errors) > 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("loss", "width"), [("mse", NARROW), ("ce", NARROW), ("mse", WIDE)])
def test_chunks_threads_and_blocks_change_no_bit(loss, width, dtype):
    whole = advanced(ensemble(width=width, dtype=dtype), 120, loss=loss, threads=1)
    options = [{"chunk": size, "threads": threads} for size in range(1, R + 1) for threads in (1, 2)]
    for option in [*options, {"blocks": 3}, {"blocks": 120}]:
        again = advanced(ensemble(width=width, dtype=dtype), 120, loss=loss, **option)
        assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_a_replica_equals_its_own_run(width, dtype):
    together = advanced(ensemble(width=width, dtype=dtype), 200)
    for i in range(R):
        alone = advanced(ensemble(width=width, dtype=dtype, replicas=[i]), 200, replicas=[i])
        assert all(torch.equal(a[i], b[0]) for a, b in zip(together, alone, strict=True))


def test_replicas_left_out_stand_still_and_change_nothing_for_the_others():
    start = [p.detach().clone() for p in ensemble().parameters()]
    everyone, some = advanced(ensemble(), 50), advanced(ensemble(), 50, running=[0, 2, 3])
    for first, all_, some_ in zip(start, everyone, some, strict=True):
        assert torch.equal(some_[[0, 2, 3]], all_[[0, 2, 3]])
        assert torch.equal(some_[[1, 4]], first[[1, 4]])


def test_a_replica_of_nans_stays_alone():
    model = ensemble()
    with torch.no_grad():
        model.features.value[1] = float("nan")
    poisoned, clean = advanced(model, 50), advanced(ensemble(), 50)
    others = [0, 2, 3, 4]
    assert all(torch.equal(a[others], b[others]) for a, b in zip(poisoned, clean, strict=True))


def test_norms_against_autograd():
    model = ensemble()
    f, parameters, fit, penalty, total = engine(model, chunk=2).norms(torch.arange(R))
    for i in range(R):
        H, *Ws = [p.detach()[i].clone().requires_grad_() for p in model.parameters()]
        outputs = torch.relu(torch.relu(H @ Ws[0].T) @ Ws[1].T) @ Ws[2].T
        loss = (outputs - torch.eye(K, dtype=torch.float64)[LABELS]).square().sum() / (2 * len(LABELS))
        of_fit = torch.autograd.grad(loss, [H, *Ws])
        of_penalty = [d * p.detach() for d, p in zip([FEATURE_DECAYS[i], *DECAYS[i]], [H, *Ws], strict=True)]
        joined = lambda tensors: torch.cat([t.detach().flatten() for t in tensors])  # noqa: E731
        expected = [outputs, *map(joined, ([H, *Ws], of_fit, of_penalty))]
        expected.append(joined(of_fit) + joined(of_penalty))
        for ours, theirs in zip((f, parameters, fit, penalty, total), expected, strict=True):
            assert float(ours[i]) == pytest.approx(float(torch.linalg.norm(theirs.detach())), rel=1e-12)


def test_an_error_in_a_thread_is_raised_and_the_thread_number_restored(threads, monkeypatch):
    threads(2)
    monkeypatch.setattr(descent._Chunk, "step", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        advanced(ensemble(), 10, chunk=1)
    assert torch.get_num_threads() == 2
