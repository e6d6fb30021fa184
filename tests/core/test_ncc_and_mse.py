import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neighbors import NearestCentroid

from ncbench.core import ClassMoments, heads, mse_decomposition, ncc_agreement, ncc_labels

# Means 0, 2, 7: the nearest changes at x = 1 and 4.5. Logits (0, x, 2 x): class 0 or 2, changing at 0; with the
# bias (0, x - 1, 2 x - 5.5): changing at 1 and 4.5 too.
X = torch.tensor([[-1.0], [1.5], [4.0], [5.0]])
MEANS, HEAD = torch.tensor([[0.0], [2.0], [7.0]]), torch.tensor([[0.0], [1.0], [2.0]])
BIAS = torch.tensor([0.0, -1.0, -5.5])
# h = 1, 3 of class 0 and -2 of class 1, no bias, W = (1, 0)^T: Sigma_W = 2/3, A = 14/3, W_LS = (2, -1)^T / 7.
H = ClassMoments.from_batch(torch.tensor([[1.0], [3.0], [-2.0]]), torch.tensor([0, 0, 1]), 2, scatter="full")
W = torch.tensor([[1.0], [0.0]])
CASES = {
    "ncc": (lambda h: h.ncc_agreement(X, MEANS, HEAD), 0.5),
    "ncc bias": (lambda h: h.ncc_agreement(X, MEANS, HEAD, BIAS), 1.0),
    "L_NC1": (lambda h: h.mse_decomposition(H, W).nc1, 5 / 147),  # 1/2 * 5/49 * 2/3
    # 1/2 (2/3 ((4/7 - 1)^2 + (2/7)^2) + 1/3 ((4/7)^2 + (2/7 - 1)^2)) = 1/2 (26 + 41)/147
    "L_NC2/3": (lambda h: h.mse_decomposition(H, W).nc23, 67 / 294),
    "L_perp": (lambda h: h.mse_decomposition(H, W).perp, 26 / 21),  # 1/2 (25 + 1)/49 * 14/3
    "sum": (lambda h: sum(h.mse_decomposition(H, W)), 1.5),  # (0 + 4 + 4 + 1)/6, the loss itself
    # with decay 1/3: A = 5, W_LS = (4, -2)^T/15, 1/2 * 20/225 * (2/3 + 1/3)
    "L_NC1 decay": (lambda h: h.mse_decomposition(H, W, weight_decay=1 / 3).nc1, 2 / 45),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    measure, expected = CASES[name]
    value = measure(heads)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert value.item() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ncc bias", ".square().sum(-1)[..., None, :] / 2", ".square().sum(-1)[..., None, :]"),
        ("ncc", "logits.argmax(-1) == scores.argmax(-1)", "logits.argmax(-1) != scores.argmin(-1)"),
        ("ncc bias", "logits = logits + as_float64(bias)", "as_float64(bias)"),
        ("L_NC1", "scatter / moments.counts.sum()", "scatter"),
        ("L_NC1", "return 0.5 * ((W @ A)", "return ((W @ A)"),
        ("L_NC1 decay", "_half_trace(W_LS, Sigma + decay)", "_half_trace(W_LS, Sigma)"),
        ("L_NC2/3", "nc23=0.5 * (p * residual.square())", "nc23=0.5 * (residual.square() / len(p))"),
        ("L_perp", "_half_trace(W - W_LS, A)", "_half_trace(W - W_LS, Sigma)"),
        ("sum", "A = Sigma + M.mT @ (p * M) + decay", "A = Sigma + decay"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    measure, expected = CASES[name]
    assert float(measure(mutant(heads, old, new))) != pytest.approx(expected, rel=1e-6)


def test_nearest_class_mean_against_scikit_learn(clusters):
    features, labels = clusters(std=1.0, N=200, offset=3.0, leading=(3,))
    m = ClassMoments.from_batch(features, labels, 4)
    for i in range(3):
        nearest = NearestCentroid().fit(features[i].numpy(), labels.numpy()).predict(features[i].numpy())
        assert ncc_labels(features, m.means)[i].tolist() == nearest.tolist()


def test_agreement_equals_a_double_loop(clusters):
    features, labels = clusters(std=1.0, leading=(2, 2))
    means = ClassMoments.from_batch(features, labels, 4).means
    weight, bias = torch.randn(2, 2, 4, 7, dtype=torch.float64), torch.randn(2, 2, 4, dtype=torch.float64)
    values = ncc_agreement(features, means, weight, bias)
    for i in range(2):
        for j in range(2):
            agree = 0
            for h in features[i, j]:
                nearest = min(range(4), key=lambda c, h=h: (h - means[i, j, c]).square().sum())
                agree += nearest == max(range(4), key=lambda c, h=h: weight[i, j, c] @ h + bias[i, j, c])
            assert values[i, j].item() == pytest.approx(agree / 40)


def test_agreement_is_invariant_and_one_for_the_heads_own_means(clusters):
    features, labels = clusters(std=1.0)
    means = ClassMoments.from_batch(features, labels, 4).means
    head = (means, -means.square().sum(-1) / 2)  # -||h - mu||^2 / 2 up to ||h||^2 / 2
    assert ncc_agreement(features, means, *head) == 1
    shift = torch.randn(7, dtype=torch.float64)
    weight, bias = torch.randn(4, 7, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    moved = ncc_agreement(features + shift, means + shift, weight, bias - weight @ shift)
    assert moved == ncc_agreement(features, means, weight, bias)
    assert torch.equal(ncc_labels(features + shift, means + shift), ncc_labels(features, means))


def test_ties_and_non_finite_input_of_ncc():
    assert ncc_labels(torch.tensor([[1.0]]), MEANS).item() == 0
    assert ncc_agreement(X, MEANS, HEAD * math.nan).isnan()
    assert ncc_agreement(X, MEANS * math.nan, HEAD).isnan()
    assert ncc_agreement(X, MEANS, HEAD, BIAS * math.inf).isnan()
    assert ncc_agreement(X, MEANS[:1], HEAD[:1]) == 1  # one class


def naive_parts(features, labels, weight, bias, decay):
    """With a ridge regression of scikit-learn as the least-squares head, and sums over samples."""
    X, y, N = features.numpy(), labels.numpy(), len(labels)
    X = X if bias is None else np.hstack([X, np.ones((N, 1))])
    A = weight.numpy() if bias is None else np.hstack([weight.numpy(), bias.numpy()[:, None]])
    Y = np.eye(len(A))[y]
    model = Ridge(alpha=N * decay, fit_intercept=False) if decay else LinearRegression(fit_intercept=False)
    LS = model.fit(X, Y).coef_
    means = np.stack([X[y == c].mean(0) for c in range(len(A))])
    within = sum(np.sum((LS @ (X[i] - means[y[i]])) ** 2) for i in range(N)) / N
    between = sum(np.sum((LS @ means[y[i]] - Y[i]) ** 2) for i in range(N)) / N
    beyond = np.sum((X @ (A - LS).T) ** 2) / N + decay * np.sum((A - LS) ** 2)
    loss = np.sum((X @ A.T - Y) ** 2) / N + decay * np.sum(A**2)
    return np.array([within + decay * np.sum(LS**2), between, beyond]) / 2, loss / 2


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("with_bias", [False, True])
def test_decomposition_equals_a_naive_twin_and_sums_to_the_loss(clusters, with_bias, decay):
    features, labels = clusters(leading=(2,))
    weight = torch.randn(2, 4, 7, dtype=torch.float64)
    bias = torch.randn(2, 4, dtype=torch.float64) if with_bias else None
    parts = mse_decomposition(
        ClassMoments.from_batch(features, labels, 4, scatter="full"), weight, bias, weight_decay=decay
    )
    for i in range(2):
        expected, loss = naive_parts(features[i], labels, weight[i], bias[i] if with_bias else None, decay)
        np.testing.assert_allclose([part[i].item() for part in parts], expected, rtol=1e-9)
        assert sum(part[i].item() for part in parts) == pytest.approx(loss, rel=1e-9)


def test_decomposition_is_invariant_under_rotation_and_zero_on_the_central_path(clusters):
    features, labels = clusters()
    Q = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64))[0]
    weight = torch.randn(4, 7, dtype=torch.float64)
    m, rotated = (ClassMoments.from_batch(x, labels, 4, scatter="full") for x in (features, features @ Q))
    parts, turned = (
        mse_decomposition(moments, w, weight_decay=0.1) for moments, w in ((m, weight), (rotated, weight @ Q))
    )
    torch.testing.assert_close(tuple(turned), tuple(parts))
    Y = torch.eye(4, dtype=torch.float64)[labels]
    ridge = torch.linalg.solve(features.T @ features + 4 * torch.eye(7), features.T @ Y).T  # 40 samples * 0.1
    assert mse_decomposition(m, ridge, weight_decay=0.1).perp < 1e-20


def test_degenerate_decomposition():
    fewer = ClassMoments.from_batch(torch.eye(2, 5), torch.arange(2), 2, scatter="full")  # singular A
    assert all(abs(part) < 1e-15 for part in mse_decomposition(fewer, torch.eye(2, 5)))
    zero = ClassMoments.from_batch(torch.zeros(2, 5), torch.arange(2), 2, scatter="full")
    assert [part.item() for part in mse_decomposition(zero, torch.eye(2, 5))] == [0, 0.5, 0]
    one = ClassMoments.from_batch(torch.tensor([[1.0], [3.0]]), torch.zeros(2).long(), 1, scatter="full")
    # W_LS = 4/10; 1/2 * .16 * 1; 1/2 (.8 - 1)^2; 1/2 (1 - .4)^2 * 5
    np.testing.assert_allclose(mse_decomposition(one, torch.ones(1, 1)), [0.08, 0.02, 0.9], rtol=1e-12)
    assert all(part.isnan() for part in mse_decomposition(one, torch.full((1, 1), math.nan))[2:])
    broken = ClassMoments.from_batch(torch.tensor([[math.nan]]), torch.zeros(1).long(), 1, scatter="full")
    assert all(part.isnan() for part in mse_decomposition(broken, torch.ones(1, 1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ncc_agreement(X, MEANS, HEAD[:1]), "must agree in K and D"),
        (lambda: ncc_agreement(X, MEANS, HEAD, BIAS[:1]), r"bias must have shape \(..., K\) with K=3, got \(1,\)"),
        (lambda: mse_decomposition(H, W[:1]), r"must match the means \(2, 1\), got \(1, 1\) and None"),
        (lambda: mse_decomposition(H, W, BIAS[:1]), r"and \(1,\)"),
        (lambda: mse_decomposition(H, W, weight_decay=-1.0), "weight_decay must be at least 0, got -1"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
