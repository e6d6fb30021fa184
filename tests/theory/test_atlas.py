"""The atlas: literal values, every entry evaluated again from its matrices, none above a closed form, bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ncbench import theory
from ncbench.core import frames
from ncbench.theory import dufm_ce, dufm_mse
from ncbench.theory.atlas_table import ce, entries, mse

CE, MSE = (list(entries(loss).values()) for loss in ("ce", "mse"))


def evaluated(entry):
    """The objective at the entry's matrices, in numpy: cross-entropy with its Schatten quasi-norm, or equation 1."""
    K, L, lam = entry.num_classes, entry.depth, entry.decay
    if entry.objective == "ce":
        M = entry.matrices[0].numpy()
        s = np.linalg.svd(M, compute_uv=False)
        fit = np.mean([np.log(np.exp(M[:, c] - M[c, c]).sum()) for c in range(K)])
        return fit + (L + 1) / 2 * lam * (s[s > 1e-12 * s[0]] ** (2 / (L + 1))).sum()
    H, *Ws = (F.numpy() for F in entry.matrices)
    penalty = lam / 2 * sum((F**2).sum() for F in (H, *Ws))
    for W in Ws[:-1]:
        H = np.maximum(W @ H, 0)
    return ((Ws[-1] @ H - np.eye(K)) ** 2).sum() / (2 * K) + penalty


def closed_forms(entry):
    K, L, lam = entry.num_classes, entry.depth, entry.decay
    if entry.objective == "ce":
        yield from (math.log(K), float(dufm_ce.dnc_loss(K, L, lam)), dufm_ce.pair_loss(K, L, lam))
        if K >= 3:
            yield dufm_ce.polygon_loss(K, L, lam)
        if K == 10:
            yield dufm_ce.ray_optimum(frames.centred_triangular_gram(5), L, lam)[1]
        return
    yield from (0.5, dufm_mse.dnc_loss(K, L, 1, lam, lam))
    if L >= 3 and K >= 4:
        yield dufm_mse.srg_loss(K, L, 1, lam, lam, variant=2)
    if L >= 3 and K >= 6:
        yield dufm_mse.srg_loss(K, L, 1, lam, lam)


def faults(entry):
    """What is wrong with an entry, in words; nothing for a sound one."""
    if evaluated(entry) != pytest.approx(entry.loss, rel=1e-10):
        yield "its matrices have another loss"
    if entry.loss > min(closed_forms(entry)) * (1 + 1e-9):
        yield "it lies above a closed form"
    if entry.closed != pytest.approx(min(closed_forms(entry)), rel=1e-12):
        yield "its lowest closed form is another"
    if entry.loss > min(entry.reduced, entry.training) * (1 + 1e-9):
        yield "a method found less"
    if entry.confirmed != (abs(entry.reduced - entry.training) <= 1e-6 * entry.loss):
        yield "the methods do not agree"


@pytest.mark.parametrize(("K", "L", "lam", "loss", "rank"), [
    (6, 2, 0.01, 0.23546343, 3),
    (10, 3, 0.001, 0.04070236, 3),
    (4, 2, 0.01, 0.15144569, 3),
    (7, 2, 0.01, 0.28315173, 4),
])  # fmt: skip
def test_values_of_an_independent_search(K, L, lam, loss, rank):
    entry = theory.atlas("ce", K, L, lam)
    assert f"{entry.loss:.8f}" == f"{loss:.8f}"
    assert entry.rank == rank
    assert entry.confirmed


def test_no_entry_is_above_the_reference_table(table):
    compared = 0
    for row in table("dufm_ce"):
        entry = entries("ce").get((int(row["classes"]), int(row["depth"]), float(row["decay"])))
        if row["per_class"] == "1" and entry is not None:
            compared += 1
            assert entry.tabulated == float(row["best"])
            assert entry.loss < entry.tabulated + 5e-9, row
            assert entry.rank == int(row["rank"]) or entry.beats_table, row
    assert compared >= 50


def test_srg_is_the_best_known_for_ten_classes_and_four_layers():
    entry = theory.atlas("mse", 10, 4, 5e-4)
    assert entry.loss < 0.0101983158 * (1 + 1e-7)  # the SRG solution


@pytest.mark.parametrize("chosen", [CE, MSE], ids=["ce", "mse"])
def test_every_entry_is_what_it_says(chosen):
    assert {entry.objective: list(faults(entry)) for entry in chosen if list(faults(entry))} == {}
    assert len({(entry.num_classes, entry.depth) for entry in chosen}) >= 60


def test_the_ranks_are_those_of_the_matrices():
    for entry in (*CE, *MSE):
        features, ranks = entry.matrices[0], []
        for W in entry.matrices[1:-1]:
            ranks.append(W @ features)
            features = (W @ features).relu()
        if entry.objective == "ce":
            ranks = [entry.logits]
        s = [torch.linalg.svdvals(X) for X in ranks]
        assert entry.ranks == tuple(int((x > 1e-3 * x[0]).sum()) if x[0] > 0 else 0 for x in s)
        assert entry.rank == min(entry.ranks)


@pytest.mark.parametrize(("change", "fault"), [
    (lambda e: replace(e, loss=e.loss * (1 - 1e-6)), "its matrices have another loss"),
    (lambda e: replace(e, matrices=(1.01 * e.matrices[0], *e.matrices[1:])), "its matrices have another loss"),
    (lambda e: replace(e, loss=e.closed * 1.001), "it lies above a closed form"),
    (lambda e: replace(e, training=e.loss * 0.99), "a method found less"),
    (lambda e: replace(e, training=e.loss * 1.01, confirmed=True), "the methods do not agree"),
])  # fmt: skip
def test_a_perturbed_entry_is_caught(change, fault):
    for entry in (theory.atlas("ce", 6, 2, 0.01), theory.atlas("mse", 6, 4, 5e-4)):
        assert fault in list(faults(change(entry)))


def test_beyond_the_existence_of_dnc_the_zero_solution_is_the_best_known():
    entry = theory.atlas("ce", 4, 2, 0.5)
    assert (entry.loss, entry.rank, entry.geometry) == (math.log(4), 0, "zero")
    assert "zero" in entry.source


def test_between_decays_the_neighbours_are_relaxed():
    """K = 4, L = 2: DNC below 0.01176, the pair blocks above (docs/theory.md)."""
    below, above = theory.atlas("ce", 4, 2, 0.0115), theory.atlas("ce", 4, 2, 0.012)
    assert below.loss == pytest.approx(dufm_ce.dnc_loss(4, 2, 0.0115), rel=1e-9)
    assert above.loss == pytest.approx(dufm_ce.pair_loss(4, 2, 0.012), rel=1e-9)
    assert (below.rank, above.rank) == (3, 2)
    assert below.method == above.method == "relaxed"
    assert not below.confirmed
    assert "0.0115" in below.source or "relaxed from" in below.source
    other = theory.atlas("mse", 3, 2, 1e-3)
    assert other.loss == pytest.approx(dufm_mse.dnc_loss(3, 2, 1, 1e-3, 1e-3), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        ((8, 2, 0.08), lambda: dufm_ce.end_state(8, 2, 0.08, "antiprism").loss),
        ((10, 3, 1e-6), lambda: dufm_ce.end_state(10, 3, 1e-6, "triangular").loss),
        ((5, 2, 0.08), lambda: dufm_ce.end_state(5, 2, 0.08, "[3, 2]").loss),
        ((10, 3, 0.02), lambda: dufm_mse.srg_loss(10, 3, 1, 0.02, [0.02] * 3)),
        ((10, 4, 7e-3), lambda: dufm_mse.srg_loss(10, 4, 1, 7e-3, [7e-3] * 4)),
    ],
)
def test_between_decays_no_known_solution_is_lower(arguments, known):
    loss = "mse" if arguments in ((10, 3, 0.02), (10, 4, 7e-3)) else "ce"
    entry = theory.atlas(loss, *arguments)
    assert entry.loss <= float(known()) * (1 + 1e-9)
    factors = [F.double() for F in entry.matrices]
    if loss == "mse":
        assert float(dufm_mse.loss(factors[0], factors[1:], 1, arguments[2], arguments[2])) == pytest.approx(entry.loss)


def test_lines_take_the_decays_of_a_run():
    """n lam_H = 0.01 and all other decays 0.01 are the table's Lam = 0.01."""
    assert ce.atlas_line(6, 2, 5, 0.002, 0.01) == theory.atlas("ce", 6, 2, 0.01).loss
    assert mse.atlas_line(6, 4, 5, 1e-4, [5e-4] * 4) == theory.atlas("mse", 6, 4, 5e-4).loss


@pytest.mark.parametrize(("arguments", "message"), [
    (("l1", 4, 2, 0.01), 'loss must be "ce" or "mse", got \'l1\''),
    (("ce", 13, 2, 0.01), r"num_classes and depth must lie in the atlas \(K <= 12, L <= 6\), got 13, 2"),
    (("mse", 4, 1, 5e-4), r"num_classes and depth must lie in the atlas \(K <= 21, 2 <= L <= 7\), got 4, 1"),
    (("ce", 4, 2, -1.0), "decay must be positive and finite, got -1.0"),
])  # fmt: skip
def test_bad_input_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=rf"^{message}$"):
        theory.atlas(*arguments)
