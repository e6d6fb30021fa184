import math
from operator import mul

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench import core
from ncbench.core import classify, classify_geometry, frames, gram_cosines


def polygon_means(K):
    angles = 2 * math.pi * torch.arange(K, dtype=torch.float64) / K
    return torch.stack([angles.cos(), angles.sin()], 1)


# rows are classes
GEOMETRIES = [
    ("orthogonal_frame", False, frames.orthogonal_frame(2)),
    ("orthogonal_frame", False, frames.orthogonal_frame(10, 14)),
    ("orthogonal_frame", False, frames.orthogonal_frame(50)),  # within 0.05 of an ETF of 50, and yet told apart
    ("simplex_etf", False, frames.simplex_etf(2)),
    ("simplex_etf", False, frames.simplex_etf(10)),
    ("simplex_etf", False, frames.simplex_etf(50)),
    ("simplex_etf", True, frames.simplex_etf(10) + 1),
    ("simplex_etf", False, polygon_means(3)),  # a triangle is both
    ("triangular_graph", False, frames.triangular_incidence(4).T),
    ("triangular_graph", False, frames.triangular_incidence(5).T),
    ("triangular_graph", False, frames.triangular_incidence(7).T),
    ("triangular_graph", False, frames.centred_triangular_gram(5)),
    ("triangular_graph", True, frames.triangular_incidence(6).T + 2),
    ("pair_blocks", False, frames.pair_blocks(4)),
    ("pair_blocks", False, frames.pair_blocks(10)),
    ("pair_blocks", False, frames.pair_blocks(7)),
    ("pair_blocks", True, frames.pair_blocks(8) + 1),
    ("pair_blocks", False, frames.centred_triangular_gram(4)),  # K = 6: the same points
    ("pair_blocks", False, polygon_means(4)),  # a square is both
    ("polygon", False, polygon_means(5)),
    ("polygon", False, polygon_means(12)),
    ("polygon", True, polygon_means(7) + 3),
    (None, None, frames.triangular_last_layer(5).relu().T),
    (None, None, frames.simplex_blocks([3, 2, 2])),
    (None, None, torch.zeros(4, 3)),
    (None, None, torch.ones(4, 3)),
]


@pytest.mark.parametrize(("name", "centred", "means"), GEOMETRIES)
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3), st.booleans())
def test_recognised_in_any_order_rotation_and_scale(name, centred, means, seed, scale, noisy):
    rng = torch.Generator().manual_seed(seed)
    K, D = means.shape
    Q = torch.linalg.qr(torch.randn(D, D, generator=rng, dtype=torch.float64))[0]
    noise = 1e-3 * noisy * torch.randn(K, D, generator=rng, dtype=torch.float64) / D**0.5
    noise = noise if name else 0 * noise
    changed = (scale * (means + noise) @ Q)[torch.randperm(K, generator=rng)]
    geometry = classify_geometry(changed)
    if name is None:
        assert geometry is None
    else:
        assert (geometry.name, geometry.centred) == (name, centred)
        assert geometry.residual < (0.03 if noisy else 1e-9)


def naive_residual(means, template):
    """Largest difference of entries of the Gram matrices, in a double loop, for one order of the classes."""
    G = means @ means.T
    G = G / G.diagonal().mean()
    return max(abs(G[i, j] - template[i, j]).item() for i in range(len(G)) for j in range(len(G)))


def test_residual_worked_by_hand_and_by_a_double_loop():
    # Gram diag(1, 1.1), mean diagonal 1.05: .05/1.05
    lengths = torch.tensor([[1.0, 0.0], [0.0, math.sqrt(1.1)]], dtype=torch.float64)
    assert classify_geometry(lengths).residual == pytest.approx(0.05 / 1.05, rel=1e-12)
    rng = torch.Generator().manual_seed(1)
    for name, means, template in [
        ("orthogonal_frame", frames.orthogonal_frame(6), torch.eye(6)),
        ("simplex_etf", frames.simplex_etf(6), frames.simplex_etf(6) @ frames.simplex_etf(6)),
        ("triangular_graph", frames.triangular_incidence(5).T, gram_cosines(frames.triangular_incidence(5).T)),
        ("pair_blocks", frames.pair_blocks(6), frames.pair_blocks(6)),
        ("polygon", polygon_means(6), frames.polygon(6)),
    ]:
        noisy = means + 3e-3 * torch.randn(means.shape, generator=rng, dtype=torch.float64)
        geometry = classify_geometry(noisy)
        assert geometry.name == name
        assert geometry.residual == pytest.approx(naive_residual(noisy, template), rel=1e-9)


@pytest.mark.parametrize(
    ("index", "old", "new"),
    [
        (0, "torch.eye(len(G), dtype=G.dtype)", "torch.ones_like(G)"),
        (4, "E @ E", "E"),
        (9, "_residual(G, (A + 2 * I - level) / (2 - level))", "_residual(G, A + 2 * I - level)"),
        (11, "for level in (0.0, 4 / r)", "for level in (0.0,)"),
        (6, "for centred in (False, True)", "for centred in (False,)"),
        (15, "torch.where(paired, 1.0, G.diagonal() / scale)", "torch.where(paired, 1.0, 2.0)"),
        (19, "[position][:, position]", ""),
        (2, "residual < best.residual - 1e-9", "True"),
    ],
)
def test_a_planted_bug_is_caught(mutant, index, old, new):
    name, _, means = GEOMETRIES[index]
    rng = torch.Generator().manual_seed(0)
    means = means[torch.randperm(len(means), generator=rng)]
    assert classify_geometry(means).name == name
    geometry = mutant(classify, old, new).classify_geometry(means)
    assert geometry is None or geometry.name != name


def test_random_means_and_the_tolerance():
    rng = torch.Generator().manual_seed(0)
    for K in (3, 6, 10):
        assert classify_geometry(torch.randn(K, K + 3, generator=rng)) is None
    rough = frames.triangular_incidence(5).T + 0.05 * torch.randn(10, 5, generator=rng, dtype=torch.float64)
    assert classify_geometry(rough) is None
    assert classify_geometry(rough, tolerance=0.5).name == "triangular_graph"


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"class_means must have shape \(K, D\) with K >= 2, got \(2, 3, 4\)"):
        classify_geometry(torch.ones(2, 3, 4))
    with pytest.raises(ValueError, match=r"with K >= 2, got \(1, 4\)"):
        classify_geometry(torch.ones(1, 4))
    with pytest.raises(ValueError, match="class_means must be finite"):
        classify_geometry(torch.full((3, 2), torch.nan))


def _moments(M):
    return core.ClassMoments.from_batch(M, torch.arange(M.shape[-2]).expand(M.shape[:-1][-1:]), M.shape[-2])


def test_cosines_of_the_triangular_graph_by_hand():
    T = frames.triangular_incidence(5).mT  # K = 10 classes in 5 dimensions
    assert core.triangular_gram_error(_moments(3.0 * T)).item() == pytest.approx(0.0, abs=1e-15)
    # An orthogonal frame has 0 where the graph has 1/2; a common direction has 1 where the graph has 0.
    assert core.triangular_gram_error(_moments(torch.eye(10, dtype=torch.float64))).item() == pytest.approx(0.5)
    assert core.triangular_gram_error(_moments(torch.ones(10, 3, dtype=torch.float64))).item() == pytest.approx(1.0)
    # One class moved towards a neighbour's direction by so little that the cosine changes by about 1/20.
    moved = T.clone()
    moved[0] += 0.1 * T[1] / T[1].norm() * T[0].norm()
    naive = torch.nn.functional.normalize(moved, dim=1)
    rows = [sorted((naive @ row).tolist(), reverse=True) for row in naive]
    worst = max(abs(a - b) for row in rows for a, b in zip(row, [1.0] + [0.5] * 6 + [0.0] * 3, strict=True))
    assert core.triangular_gram_error(_moments(moved)).item() == pytest.approx(worst, abs=1e-14)


def test_cosines_of_a_stack_of_any_order_and_of_no_triangular_number(mutant):
    T = frames.triangular_incidence(4).mT
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    replicas = torch.stack([T[order], torch.eye(6, 4, dtype=torch.float64)])
    error = core.triangular_gram_error(_moments(replicas))
    assert error[0] == pytest.approx(0.0, abs=1e-15)
    assert error[1].isnan()  # two of its class means are zero
    with pytest.raises(ValueError, match=r"moments must be of r\(r-1\)/2 classes with r >= 4, got 7"):
        core.triangular_gram_error(_moments(torch.eye(7)))
    bad = mutant(classify, "neighbours=2 * (r - 2)", "neighbours=r - 2")
    assert bad.triangular_gram_error(_moments(T)).item() > 0.4


def test_cosines_of_the_square_by_hand_and_by_loops(mutant):
    square = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]], dtype=torch.float64)
    assert core.graph_gram_error(_moments(square), neighbours=2).item() == pytest.approx(0.0, abs=1e-15)
    # A star: one class at 1/sqrt(3) to three others, which are orthogonal; the centre's last cosine is off by that.
    star = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    assert core.graph_gram_error(_moments(star), neighbours=2).item() == pytest.approx(1 / math.sqrt(3), abs=1e-14)
    # An orthogonal frame is the graph without edges.
    frame = torch.eye(4, dtype=torch.float64)
    assert core.graph_gram_error(_moments(frame), neighbours=0).item() == 0
    assert core.graph_gram_error(_moments(frame), neighbours=2).item() == pytest.approx(0.5)

    M = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = []
    for means in M.tolist():
        cosines = [[sum(map(mul, a, b)) / math.hypot(*a) / math.hypot(*b) for b in means] for a in means]
        rows = [sorted(row, reverse=True) for row in cosines]
        errors.append(max(abs(x - y) for row in rows for x, y in zip(row, [1, 0.5, 0.5, 0, 0], strict=True)))
    assert core.graph_gram_error(_moments(M), neighbours=2).tolist() == pytest.approx(errors, abs=1e-13)
    for neighbours in (-1, 5):
        with pytest.raises(ValueError, match="neighbours must be at least 0 and less than the number of classes 5"):
            core.graph_gram_error(_moments(M), neighbours=neighbours)

    bad = mutant(classify, "amax(dim=(-2, -1))", "amax(dim=-1).amin(dim=-1)")  # the best class instead of the worst
    assert bad.graph_gram_error(_moments(star), neighbours=2).item() == pytest.approx(0.5)
