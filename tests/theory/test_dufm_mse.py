"""The two closed forms: the documents' numbers, explicit matrices, and what must be refused."""

import math

import numpy as np
import pytest

from ncbench.theory.dufm_mse import decay_product, dnc_loss, srg_loss

# K, L, DNC, SRG at n = 5 and all decays 2e-3; an independent computation in 10 digits.
TABLE = [
    (4, 2, 0.0204257115, None),
    (6, 3, 0.0357259028, 0.0377205387),
    (6, 4, 0.0412534390, 0.0397430531),
    (10, 3, 0.0593598420, 0.0546888623),
    (10, 4, 0.0685992431, 0.0559851469),
    (10, 7, 0.0975228214, 0.0662761875),
    (15, 5, 0.1168988008, 0.0818575374),
    (21, 4, 0.1431300166, 0.1090579863),
]
# K, L, SRG of Definition 11 variant 1 at n = 1 and all decays 5e-4.
NOT_TRIANGULAR = [(7, 3, 0.00732988), (8, 4, 0.00971692), (9, 5, 0.01264467), (11, 4, 0.01144575), (14, 3, 0.01320625)]


@pytest.mark.parametrize(("K", "L", "dnc", "srg"), TABLE)
def test_reference_numbers(K, L, dnc, srg):
    assert dnc_loss(K, L, 5, 2e-3, 2e-3) == pytest.approx(dnc, abs=6e-11)
    if srg is not None:
        assert srg_loss(K, L, 5, 2e-3, 2e-3) == pytest.approx(srg, abs=6e-11)


@pytest.mark.parametrize(("K", "L", "srg"), NOT_TRIANGULAR)
def test_reference_numbers_between_triangular_class_numbers(K, L, srg):
    assert srg_loss(K, L, 1, 5e-4, 5e-4) == pytest.approx(srg, abs=6e-9)


def explicit_dnc_loss(K, L, n, feature_decay, weight_decays, y):
    """Loss of explicit matrices H_1 = s_1 I x 1_n^T, W_l = a_l I with W_L by ridge regression, at scale y."""
    N, lam_last = n * K, weight_decays[-1]
    s_last = math.sqrt(y * K * lam_last)
    # Balanced: lam_H n s_1^2 = lam_1 a_1^2 = ... = lam_{L-1} a_{L-1}^2 = q, and s_1 a_1 ... a_{L-1} = s_L.
    product = n * feature_decay * math.prod(weight_decays[:-1])
    q = (product * s_last**2) ** (1 / L)
    H1 = math.sqrt(q / (n * feature_decay)) * np.kron(np.eye(K), np.ones((1, n)))
    Ws = [math.sqrt(q / lam) * np.eye(K) for lam in weight_decays[:-1]]
    HL = H1
    for W in Ws:
        HL = np.maximum(W @ HL, 0)
    Y = np.kron(np.eye(K), np.ones((1, n)))
    Ws.append(Y @ HL.T @ np.linalg.inv(HL @ HL.T + N * lam_last * np.eye(K)))
    penalty = feature_decay * np.sum(H1**2) + sum(lam * np.sum(W**2) for lam, W in zip(weight_decays, Ws))
    return np.sum((Ws[-1] @ HL - Y) ** 2) / (2 * N) + penalty / 2


@pytest.mark.parametrize(("K", "L", "n"), [(3, 1, 2), (4, 2, 5), (6, 3, 1), (5, 4, 7)])
def test_dnc_is_the_least_loss_of_explicit_matrices(K, L, n):
    decays = [1e-3 * (1 + i / 3) for i in range(L)]
    closed = dnc_loss(K, L, n, 7e-4, decays)
    losses = [explicit_dnc_loss(K, L, n, 7e-4, decays, y) for y in np.geomspace(1e-2, 1e7, 3001)]
    assert min(losses) >= closed * (1 - 1e-12)
    assert min(losses) == pytest.approx(closed, rel=2e-5)  # the grid's own resolution


def test_a_factor_of_k_in_the_decays_would_be_seen():
    assert dnc_loss(10, 4, 50, 2e-3, 2e-3) != pytest.approx(dnc_loss(10, 4, 5, 2e-3, 2e-3), rel=1e-2)
    # Only the product N lam_H lam_1 ... lam_L enters.
    assert dnc_loss(10, 4, 50, 2e-4, [1e-3, 2e-3, 2e-3, 4e-3]) == pytest.approx(
        dnc_loss(10, 4, 5, 2e-3, 2e-3), rel=1e-13
    )
    assert decay_product(10, 2, 5, 0.1, [0.2, 0.5]) == pytest.approx(0.5, rel=1e-15)


def test_zero_solution_past_the_threshold():
    # Non-trivial iff Lam < (L-1)^(L-1) / (K^L L^(2L)); for K = 4, L = 2: 1/256.
    lam = math.sqrt(1 / 256 / 4)  # n = 1, feature decay 1
    assert dnc_loss(4, 2, 1, 1.0, lam * 1.001) == 0.5
    assert dnc_loss(4, 2, 1, 1.0, lam * 0.99) < 0.5
    assert srg_loss(10, 4, 1, 1.0, 1.0) == 0.5


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (dnc_loss, (1, 4, 5, 1e-3, 1e-3), "num_classes=1: at least 2"),
        (dnc_loss, (10, 0, 5, 1e-3, 1e-3), "depth=0: at least 1"),
        (dnc_loss, (10, 4, 5, 1e-3, [1e-3]), "weight_decays has 1 values"),
        (dnc_loss, (10, 4, 5, 0.0, 1e-3), "feature_decay=0.0: must be positive"),
        (srg_loss, (5, 4, 5, 1e-3, 1e-3), "num_classes=5: the SRG solution needs at least 6"),
        (srg_loss, (10, 2, 5, 1e-3, 1e-3), "depth=2: the SRG solution needs at least 3"),
    ],
)
def test_bad_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
