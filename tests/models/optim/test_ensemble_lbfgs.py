"""An ensemble of perceptrons trained by L-BFGS: chunks, threads, blocks and a stop change no bit, nobody else does."""

import io
from functools import partial

import pytest
import torch

from ncbench.models.replica import LBFGS, Layout, LBFGSState, Perceptron, SquaredError
from ncbench.models.replica.optim import ensemble_lbfgs as stationary
from ncbench.models.replica.optim.lbfgs_state import CONVERGED, RUNNING, STALLED

R = 5
DRAW = torch.Generator().manual_seed(0)
INPUTS, TARGETS = (torch.randn(R, 12, width, generator=DRAW, dtype=torch.float64) for width in (3, 2))
DECAYS = torch.linspace(0.01, 0.05, R, dtype=torch.float64)


def prepared(chosen=range(R), threads=1, dtype=torch.float64, spoil=None, tolerance=1e-9, kind=stationary, lr=1.0):
    """Those of the R tanh networks, their engine and its state."""
    chosen = list(chosen)
    kind.WORK = stationary.WORK  # a module with a planted bug has constants of its own
    options = dict(inputs=INPUTS[chosen], seeds=[10 + i for i in chosen], dtype=dtype)
    model = Perceptron(depth=2, width=3, activation="tanh", num_outputs=2, **options)
    if spoil is not None:
        model.weights[1].data[1] = spoil
    layout = Layout(model)
    state = LBFGSState(len(chosen), layout.size, 8, dtype)
    state.restart(layout.gather(model))
    problem = (INPUTS[chosen], TARGETS[chosen], DECAYS[chosen, None].expand(-1, 2))
    problem_of = partial(SquaredError, model, layout, *problem)
    return kind.EnsembleLBFGS(problem_of, INPUTS.shape[1], state, LBFGS(lr=lr), tolerance, threads), state


def advanced(blocks, **options):
    engine, state = prepared(**options)
    for rounds in blocks:
        engine.advance(rounds)
    return state


def same(one, two, of_one=slice(None), of_two=slice(None)):
    """Whether these replicas of two states are equal in every bit, NaN included."""
    known = [state.state_dict() for state in (one, two)]
    return known[0].keys() == known[1].keys() and all(
        torch.equal(known[0][name][of_one], known[1][name][of_two]) for name in LBFGSState.NAMES
    )


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """These networks are too small for a second thread, which is what is tested."""
    monkeypatch.setattr(stationary, "WORK", 1)


def test_small_stacks_are_one_chunk_and_large_ones_have_one_per_thread(monkeypatch):
    """A chunk for each WORK products of samples and parameters, at most one per thread."""
    engine, state = prepared(threads=3)
    whole = R * INPUTS.shape[1] * state.get_buffer("x").shape[1]
    chunks = []
    monkeypatch.setattr(engine._workers, "each", lambda pieces, work: chunks.append(len(pieces)))
    for work in (1, whole // 3, whole // 2, whole + 1):
        monkeypatch.setattr(stationary, "WORK", work)
        engine.advance(1)
    assert chunks == [3, 3, 2, 1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_place_threads_and_blocks_change_no_bit(dtype, tolerance, monkeypatch):
    options = dict(dtype=dtype, tolerance=tolerance)
    whole = advanced([100], **options)
    assert set(whole.code.tolist()) == {RUNNING, CONVERGED}
    for blocks, threads in (([100], 2), ([100], 3), ([1] * 100, 1), ([7, 53, 40], 2)):
        assert same(advanced(blocks, threads=threads, **options), whole)
    for chosen in ([0], [1], [2], [3], [4], [3, 1], [4, 2, 0]):
        assert same(advanced([100], chosen=chosen, **options), whole, of_two=chosen)
    monkeypatch.setattr(stationary, "SLICE", 9)  # those that stand still are left out, the others shared anew
    assert same(advanced([100], threads=2, **options), whole)


def by_autograd(replica, flat, layout):
    """F and its gradient of one network at its flat parameters (P,), written out from the paper."""
    x = flat.clone().requires_grad_()
    (W_1, W_2), (b_1, b_2) = ([block.of(x[None])[0] for block in b] for b in (layout.weights, layout.biases))
    outputs = torch.tanh(INPUTS[replica] @ W_1.T + b_1) @ W_2.T + b_2
    F = (outputs - TARGETS[replica]).square().sum(1).mean() + DECAYS[replica] * x.square().sum()
    return F.detach(), torch.autograd.grad(F, x)[0]


def test_it_ends_where_the_gradient_of_every_network_is_small():
    start = advanced([1])
    engine, state = prepared()
    engine.advance(1000)
    assert state.code.tolist() == [CONVERGED] * R
    layout = engine.problem_of.args[1]
    for replica in range(R):
        F, gradient = by_autograd(replica, state.x[replica], layout)
        assert gradient.abs().max() <= 1.001e-9
        assert torch.allclose(gradient, state.g[replica], rtol=0, atol=1e-14)
        assert float(state.f[replica]) == pytest.approx(float(F), rel=1e-14)
        assert state.f[replica] < start.f[replica]
    before = {name: value.clone() for name, value in state.state_dict().items()}
    engine.advance(50)  # all stand still
    assert all(torch.equal(before[name], value) for name, value in state.state_dict().items())
    state.restart(before["x"])
    assert state.code.tolist() == [RUNNING] * R
    engine.advance(1)
    assert state.code.tolist() == [CONVERGED] * R  # and at once again


def test_a_step_is_one_evaluation_along_the_gradient_first():
    # Of length lr along gradients that are longer than 1, lr times the gradient otherwise.
    start, state = advanced([1]), advanced([1], lr=0.25)
    assert torch.equal(start.x, state.x)
    norms = start.g.norm(dim=1)
    assert (norms > 1).any()
    assert torch.allclose(state.t, 0.25 / norms.clamp_min(1.0), rtol=1e-14)
    assert torch.equal(state.d, -start.g)
    assert torch.equal(state.count, torch.zeros(R, dtype=torch.int64))


@pytest.mark.parametrize("spoil", [float("nan"), float("inf"), 1e200])
def test_a_network_that_is_not_finite_stays_alone(spoil):
    others = [0, 2, 3, 4]
    for threads in (1, 2):
        clean, spoilt = advanced([80]), advanced([80], spoil=spoil, threads=threads)
        assert same(clean, spoilt, others, others)
        assert spoilt.code.tolist() == [RUNNING, STALLED, *clean.code[2:].tolist()]
        assert spoilt.x[1].nan_to_num().equal(advanced([0], spoil=spoil).x[1].nan_to_num())  # where it was


def test_the_state_survives_a_stop():
    whole, searching = advanced([60]), []
    assert set(whole.state_dict()) == set(LBFGSState.NAMES)
    for at in (0, 1, 2, 5, 12, 40):
        state, kept = advanced([at]), io.BytesIO()
        searching.append(bool(state.tries.any()))
        torch.save(state.state_dict(), kept)
        kept.seek(0)
        engine, again = prepared()
        again.load_state_dict(torch.load(kept, weights_only=True))
        engine.advance(60 - at)
        assert same(whole, again)
    assert any(searching)  # stopped in the middle of a line search, too


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.state.put(index, local)", "self.state.put(index.flip(0), local)"),
        ("self.problem_of(index)", "self.problem_of(index - index[0])"),
        ("min(SLICE, rounds - start)", "SLICE"),
        ("self.tolerance, self.settings.lr", "self.tolerance"),
    ],
)
def test_planted_bugs_are_found(old, new, mutant):
    bad = mutant(stationary, old, new)
    options = dict(threads=2, tolerance=1e-6, lr=0.5)
    blocks = [30, 90]
    assert not same(advanced(blocks, kind=bad, **options), advanced(blocks, **options))


def test_an_error_in_a_thread_is_raised_and_the_thread_number_restored(threads, monkeypatch):
    threads(2)
    engine, _ = prepared(threads=2)
    monkeypatch.setattr(stationary, "minimise", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.advance(10)
    assert torch.get_num_threads() == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_minimum_on_a_gpu():
    """Linear networks of one layer: ridge regression, which has one minimum."""
    ends = []
    for device in ("cpu", "cuda"):
        model = Perceptron(depth=1, width=3, activation="tanh", inputs=INPUTS, num_outputs=2, seeds=range(R)).to(device)
        layout = Layout(model)
        state = LBFGSState(R, layout.size, 8, torch.float64).to(device)
        state.restart(layout.gather(model))
        problem = (INPUTS.to(device), TARGETS.to(device), DECAYS[:, None])
        problem_of = partial(SquaredError, model, layout, *problem)
        engine = stationary.EnsembleLBFGS(problem_of, INPUTS.shape[1], state, LBFGS(), 1e-9)
        engine.advance(200)
        assert state.code.tolist() == [CONVERGED] * R
        ends.append(state.get_buffer("x").cpu())
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-7)
