import itertools
import math

import numpy as np
import pytest
import torch

from ncbench.core import frames

ROOT = math.sqrt(0.5)
CASES = {  # small enough to write down
    "simplex_etf": (lambda f: f.simplex_etf(3), 0.408248290463863 * (3 * np.eye(3) - 1)),
    "orthogonal_frame": (lambda f: f.orthogonal_frame(2, 3), [[1, 0, 0], [0, 1, 0]]),
    "incidence": (lambda f: f.triangular_incidence(3), [[ROOT, ROOT, 0], [ROOT, 0, ROOT], [0, ROOT, ROOT]]),
    "signs": (lambda f: f.triangular_signs(3), [[-1, -1, 1], [-1, 1, -1], [1, -1, -1]]),
    # edges 01, 02, 03, 12, 13, 23: only 01-23, 02-13, 03-12 are disjoint
    "adjacency": (lambda f: f.triangular_adjacency(4), 1 - np.eye(6) - np.eye(6)[::-1]),
    "gram": (lambda f: f.triangular_gram(4), (1 + np.eye(6) - np.eye(6)[::-1]) / 3),
    "centred gram": (lambda f: f.centred_triangular_gram(4), np.eye(6) - np.eye(6)[::-1]),
    # r = 4, m = 2: rows have -2 at the edge itself and +2 at the disjoint one, over 2 sqrt 2
    "last layer": (lambda f: f.triangular_last_layer(4), ROOT * (np.eye(6)[::-1] - np.eye(6))),
    "polygon": (lambda f: f.polygon(4), [[1, 0, -1, 0], [0, 1, 0, -1], [-1, 0, 1, 0], [0, -1, 0, 1]]),
    "blocks": (
        lambda f: f.simplex_blocks([1, 3]),
        [[1, 0, 0, 0], [0, 1, -0.5, -0.5], [0, -0.5, 1, -0.5], [0, -0.5, -0.5, 1]],
    ),
    "pairs": (lambda f: f.pair_blocks(3), [[1, -1, 0], [-1, 1, 0], [0, 0, 1]]),
}


@pytest.mark.parametrize("name", CASES)
def test_written_down(name):
    build, expected = CASES[name]
    assert build(frames).dtype == torch.float64
    np.testing.assert_allclose(build(frames), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("simplex_etf", "(_eye(K) - 1 / K)\n", "(_eye(K) - 1 / (K - 1))\n"),
        ("incidence", "math.sqrt(vertices - 1)", "math.sqrt(vertices)"),
        ("signs", "-1.0)", "0.0)"),
        ("adjacency", "- 2 * _eye", "- _eye"),
        ("gram", "/ (vertices - 1)\n\n\ndef centred", "/ vertices\n\n\ndef centred"),
        ("centred gram", "4 / vertices", "2 / vertices"),
        ("last layer", "sum(1, keepdim=True).sqrt()", "sum(1, keepdim=True)"),
        ("last layer", "rows = S @ (0.5", "rows = S @ (-0.5"),
        ("polygon", "2 * torch.pi / K", "torch.pi / K"),
        ("blocks", "k / (k - 1) * (", "("),
        ("pairs", "[2] * pairs + [1] * single", "[2] * pairs + [2] * single"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    build, expected = CASES[name]
    value = build(mutant(frames, old, new)).numpy()
    assert value.shape != np.shape(expected) or not np.allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize("r", [4, 5, 6, 8])
def test_triangular_graph_and_its_lemmas(r):
    K, m = r * (r - 1) // 2, 1 + math.comb(r - 2, 2)
    T, A, edges = frames.triangular_incidence(r), frames.triangular_adjacency(r), frames.triangular_edges(r)
    assert edges == sorted(edges)
    assert len(edges) == K
    for (i, e), (j, f) in itertools.product(enumerate(edges), repeat=2):
        assert A[i, j] == (len(set(e) & set(f)) == 1)
    # srg(K, 2(r-2), r-2, 4), spectrum 2(r-2), r-4 (x r-1), -2
    eye, ones = torch.eye(K), torch.ones(K, K)
    torch.testing.assert_close(A @ A, 2 * (r - 2) * eye + (r - 2) * A + 4 * (ones - eye - A), check_dtype=False)
    spectrum = [-2] * (r * (r - 3) // 2) + [r - 4] * (r - 1) + [2 * (r - 2)]
    np.testing.assert_allclose(np.linalg.eigvalsh(A), spectrum, atol=1e-12)
    np.testing.assert_allclose(T @ T.T, ((r - 2) * np.eye(r) + 1) / (r - 1), atol=1e-14)
    np.testing.assert_allclose(frames.triangular_gram(r), T.T @ T, atol=1e-14)
    np.testing.assert_allclose(
        np.linalg.svd(T, compute_uv=False), [math.sqrt(2)] + [math.sqrt((r - 2) / (r - 1))] * (r - 1)
    )
    # centred: the Gram matrix of e_i + e_j - (2/r) 1, equal singular values r - 2, rank r - 1
    E = math.sqrt(r - 1) * T - 2 / r
    np.testing.assert_allclose(frames.centred_triangular_gram(r), E.T @ E, atol=1e-13)
    expected = [r - 2] * (r - 1) + [0] * (K - r + 1)
    np.testing.assert_allclose(np.linalg.svd(E.T @ E, compute_uv=False), expected, atol=1e-12)
    # last layer: entries of a row, rank r before the ReLU; Lemma 16 after it, with alpha_L = 1
    last = frames.triangular_last_layer(r)
    np.testing.assert_allclose(last, torch.nn.functional.normalize(frames.triangular_signs(r) @ T, dim=1), atol=1e-15)
    assert (last == 0).sum() == K * (K - m)
    assert torch.linalg.matrix_rank(last) == (r if r > 4 else 3)  # S 1 = (r - 4) 1
    G = last.relu().T @ last.relu()
    np.testing.assert_allclose(
        G, (math.comb(r - 4, 2) * np.ones((K, K)) + (r - 4) * A.numpy() + (2 * r - 7) * np.eye(K)) / m, atol=1e-13
    )


@pytest.mark.parametrize("K", [2, 3, 5, 8])
def test_simplex_polygon_and_blocks(K):
    E = frames.simplex_etf(K)
    cosines = np.full((K, K), -1 / (K - 1)) + np.eye(K) * K / (K - 1)
    np.testing.assert_allclose(E @ E.T, cosines, atol=1e-14)
    np.testing.assert_allclose(frames.simplex_blocks([K]), E * math.sqrt(K / (K - 1)), atol=1e-14)
    pair = torch.linalg.svdvals(frames.pair_blocks(K))
    np.testing.assert_allclose(pair, [2] * (K // 2) + [1] * (K % 2) + [0] * (K // 2), atol=1e-14)
    blocks = frames.simplex_blocks([3, 1, K])
    margins = blocks.diagonal() - (blocks - 9 * torch.eye(K + 4)).amax(0)
    np.testing.assert_allclose(margins, np.ones(K + 4), atol=1e-14)  # the runner-up is in another block
    if K >= 3:
        values = torch.linalg.svdvals(frames.polygon(K))
        np.testing.assert_allclose(values, [K / 2] * 2 + [0] * (K - 2), atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frames.simplex_etf(1), "num_classes must be at least 2, got 1"),
        (lambda: frames.orthogonal_frame(0), "num_classes must be at least 1, got 0"),
        (lambda: frames.orthogonal_frame(4, 3), "dim must be at least 4, got 3"),
        (lambda: frames.triangular_edges(1), "vertices must be at least 2, got 1"),
        (lambda: frames.triangular_last_layer(3), "vertices must be at least 4, got 3"),
        (lambda: frames.polygon(2), "num_classes must be at least 3, got 2"),
        (lambda: frames.pair_blocks(1), "num_classes must be at least 2, got 1"),
        (lambda: frames.antiprism_blocks(6), "num_classes must be at least 8, got 6"),
        (lambda: frames.antiprism_blocks(9), "num_classes must be even, got 9"),
        (lambda: frames.simplex_blocks([2, 0]), r"sizes must be positive, at least one of them, got \[2, 0\]"),
        (lambda: frames.simplex_blocks([]), r"got \[\]"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_pairs_and_a_square_antiprism(mutant):
    """Of ten classes one pair; the eight vertices are worked by hand, z = 0.62 over the norm sqrt(1.3844)."""
    M = frames.antiprism_blocks(10)
    assert torch.equal(M[:2, :2], torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64))
    assert not M[:2, 2:].any()
    assert not M[2:, :2].any()
    block = M[2:, 2:]
    z2 = 0.3844
    # Neighbours in a square, across a square, and on the other square at 45 and 135 degrees.
    near, across = z2 / (1 + z2), (z2 - 1) / (1 + z2)
    other = [(math.sqrt(0.5) - z2) / (1 + z2), (-math.sqrt(0.5) - z2) / (1 + z2)]
    expected = sorted([1.0, near, near, across, other[0], other[0], other[1], other[1]])
    for row in block:
        assert sorted(row.tolist()) == pytest.approx(expected, abs=1e-12)
    assert torch.linalg.matrix_rank(M) == 4
    # A naive twin: two squares turned by 45 degrees, vertex by vertex.
    corners = [(math.cos(a), math.sin(a), h) for h, turn in ((0.62, 0), (-0.62, 1)) for a in _turned(turn)]
    twin = [[sum(x * y for x, y in zip(p, q, strict=True)) / (1 + z2) for q in corners] for p in corners]
    assert torch.allclose(block, torch.tensor(twin, dtype=torch.float64), atol=1e-12)
    prism = mutant(frames, "quarter + math.pi / 4", "quarter").antiprism_blocks(8)  # without the turn a prism
    assert not torch.allclose(prism, block, atol=0.1)


def _turned(turn):
    return [(2 * k + turn) * math.pi / 4 for k in range(4)]
