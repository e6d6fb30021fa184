"""Predicted singular values: the closed forms against the singular values of the explicit matrices."""

import math

import numpy as np
import pytest
import torch

from ncbench.run.references import evaluate_references
from ncbench.theory.dufm_mse import dnc_solution, dnc_spectra, spectra, srg_solution, srg_spectra


def unequal(L):
    return [1e-3 * (1 + i / 3) / (1 + (i % 2)) for i in range(L)]


def naive(H, Ws, n):
    """sigma_i / sigma_1 of every recorded stage, from the matrices themselves."""
    K = len(Ws[-1])
    matrices = {"features.post": H[:, ::n]}
    means = H[:, ::n]
    for l, W in enumerate(Ws, 1):
        means = W @ means
        matrices |= {f"head.{l}.weight": W, f"head.{l}.pre": means}
        if l < len(Ws):
            means = means.relu()
            matrices[f"head.{l}.post"] = means
    values = {stage: torch.linalg.svdvals(matrix)[:K] for stage, matrix in matrices.items()}
    return {stage: (s / s[0]).numpy() for stage, s in values.items()}


def worst(module, K, L, n, lam_H, lams):
    pairs = [
        (module.dnc_spectra(K, L, n, lam_H, lams), naive(*dnc_solution(K, L, n, lam_H, lams), n)),
        (module.srg_spectra(K, L, n, lam_H, lams), naive(*srg_solution(K, L, n, lam_H, lams), n)),
    ]
    errors = []
    for closed, matrices in pairs:
        assert set(closed) == set(matrices)
        assert all(len(values) == K for values in closed.values())
        errors += [np.abs(np.array(values) - matrices[stage]).max() for stage, values in closed.items()]
    return max(errors)


@pytest.mark.parametrize("L", [3, 4, 5, 7])
@pytest.mark.parametrize("K", [6, 7, 9, 10, 13, 15, 20, 21])
def test_closed_form_is_the_spectrum_of_the_explicit_matrices(K, L):
    for n, lam_H, lams in ((1, 5e-4, [5e-4] * L), (3, 7e-4, unequal(L))):
        assert worst(spectra, K, L, n, lam_H, lams) < 1e-10


@pytest.mark.parametrize("L", [1, 2])
def test_dnc_of_shallow_heads(L):
    stages = dnc_spectra(5, L, 2, 1e-3, 1e-3)
    matrices = naive(*dnc_solution(5, L, 2, 1e-3, 1e-3), 2)
    assert set(stages) == set(matrices)
    assert all(values == [1.0] * 5 for values in stages.values())


def test_by_hand_for_ten_classes():
    stages = srg_spectra(10, 4, 5, 2e-3, 2e-3)  # r = 5
    assert stages["head.2.pre"] == pytest.approx([1.0] + [math.sqrt(3 / 8)] * 4 + [0.0] * 5, abs=1e-15)
    assert stages["features.post"] == pytest.approx([1.0] + [(3 / 8) ** 0.25] * 4 + [0.0] * 5, abs=1e-15)
    assert stages["head.3.pre"] == pytest.approx([1.0] * 4 + [2 / 3] + [0.0] * 5, abs=1e-15)
    assert stages["head.3.post"] == pytest.approx([1.0] + [2 / 3] * 4 + [1 / 3] * 5, abs=1e-15)
    assert stages["head.2.weight"] == [1.0] * 5 + [0.0] * 5


def test_a_dnc_block_whose_decays_are_too_large_is_zero():
    stages = srg_spectra(11, 4, 5, 1.5e-2, 1.5e-2)
    assert np.count_nonzero(stages["head.1.pre"]) == 5
    assert stages["head.1.pre"][1] == pytest.approx(math.sqrt(3 / 8))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("math.sqrt((r - 2) / (r - 1))", "math.sqrt((r - 3) / (r - 1))"),
        ("(r - 1) * (r - 4) / 2", "(r - 1) * (r - 4)"),
        ("[ratio * lam for", "[lam for"),
        ("features**2 + K *", "features**2 + "),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    bad = mutant(spectra, old, new)
    assert worst(bad, 12, 4, 3, 7e-4, unequal(4)) > 1e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: srg_spectra(5, 4, 5, 1e-3, 1e-3), "num_classes must be at least 6 for the SRG solution .* got 5"),
        (lambda: srg_spectra(10, 2, 5, 1e-3, 1e-3), "depth must be at least 3 for the SRG solution, got 2"),
        (lambda: srg_spectra(10, 4, 5, 1e-3, 1e-3, 2), "variant must be 1 .* got 2"),
        (
            lambda: dnc_spectra(10, 4, 5, 1.0, 1.0),
            "weight_decays must be small enough for a non-zero solution, got 1.0",
        ),
        (
            lambda: dnc_spectra(10, 4, 5, 1e-3, [1e-3]),
            r"weight_decays must be one decay or one per weight matrix \(4\), got 1 decays",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_loss_brings_its_spectra_into_the_references():
    of_one = {"num_classes": 10, "depth": 4, "per_class": 5.0, "weight_decays": [2e-3] * 4, "feature_decay": 2e-3}
    run = {"reference_arguments": [of_one]}
    losses = [{"name": n, "_target_": f"ncbench.theory.dufm_mse.{n}_loss"} for n in ("dnc", "srg")]
    entries = evaluate_references(losses, loss="mse", activation="relu", **run)
    assert [(e["name"], e["measure"]) for e in entries] == [
        ("dnc", "loss"),
        ("srg", "loss"),
        ("dnc", "spectra"),
        ("srg", "spectra"),
    ]
    assert [e["values"] is None for e in entries] == [True, True, False, False]
    assert [e["value"] is None for e in entries] == [False, False, True, True]
    assert entries[3]["values"] == srg_spectra(10, 4, 5.0, 2e-3, [2e-3] * 4)
    assert "Lemma 15" in entries[3]["formula"]
    asked = {"name": "graph", "measure": "spectra", "_target_": "ncbench.theory.dufm_mse.srg_spectra"}
    entries = evaluate_references([losses[1], asked], loss="mse", activation="relu", **run)
    assert [(e["name"], e["measure"]) for e in entries] == [("srg", "loss"), ("graph", "spectra")]
    entries = evaluate_references(losses, loss="mse", activation="linear", **run)
    assert {e["why"] for e in entries} == {"holds for activation=relu, the run has activation=linear"}
    assert all(e["value"] is None and e["values"] is None for e in entries)
    one_matrix = {**of_one, "depth": 1, "weight_decays": [2e-3]}  # between which there is no activation
    (dnc, _) = evaluate_references(losses[:1], loss="mse", activation="linear", reference_arguments=[one_matrix])
    assert dnc["why"] is None


def test_no_line_of_neural_collapse_where_a_layer_is_too_narrow_for_it():
    """K orthogonal means need K neurons, a simplex ETF K - 1; of the graph's solution 5 may do."""
    of_one = {"num_classes": 10, "depth": 3, "per_class": 5.0, "weight_decays": [2e-3] * 3, "feature_decay": 2e-3}
    losses = [{"name": n, "_target_": f"ncbench.theory.dufm_mse.{n}_loss"} for n in ("dnc", "srg")]
    for narrowest, exists in ((10, True), (9, False)):
        facts = [{**of_one, "narrowest": narrowest}]
        entries = evaluate_references(losses, loss="mse", activation="relu", reference_arguments=facts)
        why = None if exists else "needs at least 10 neurons in every layer, and one has 9"
        assert [(e["name"], e["why"]) for e in entries] == [("dnc", why), ("srg", None)] * 2
        line = [{"name": "dnc", "_target_": "ncbench.theory.dufm_ce.dnc_line"}]
        (entry,) = evaluate_references(line, loss="ce", activation="linear", reference_arguments=facts)
        assert entry["why"] is None
    (loss, spectra) = evaluate_references(
        losses[1:], loss="mse", activation="relu", reference_arguments=[{**of_one, "narrowest": 4}]
    )
    assert loss["why"] == spectra["why"] == "needs at least 5 neurons in every layer, and one has 4"
    lines = [losses[1], {"name": "atlas", "_target_": "ncbench.theory.atlas_table.mse.atlas_line"}]
    for last_hidden, why in ((9, "needs at least 10 neurons in the last hidden layer, which has 9"), (10, None)):
        facts = [{**of_one, "narrowest": 6, "last_hidden": last_hidden}]
        entries = evaluate_references(lines, loss="mse", activation="relu", reference_arguments=facts)
        assert [entry["why"] for entry in entries] == [why, why, why]


@pytest.mark.parametrize(
    ("line", "activation", "needed"),
    [
        ({"_target_": "ncbench.theory.dufm_ce.pair_line"}, "linear", 5),
        ({"_target_": "ncbench.theory.dufm_ce.polygon_line"}, "linear", 2),
        ({"_target_": "ncbench.theory.dufm_ce.end_state_line", "structure": "triangular"}, "linear", 4),
        ({"_target_": "ncbench.theory.dufm_ce.end_state_line", "structure": "[8, 2]"}, "linear", 8),
        ({"_target_": "ncbench.theory.dufm_ce.relu.relu_low_rank_line"}, "relu", 10),
        ({"_target_": "ncbench.theory.atlas_table.ce.atlas_line"}, "linear", 3),
    ],
)
def test_no_line_of_a_low_rank_solution_where_a_layer_is_narrower_than_its_rank(line, activation, needed):
    of_one = {"num_classes": 10, "depth": 3, "per_class": 1.0, "weight_decays": [2e-3] * 3, "feature_decay": 2e-3}
    loss = "ce"
    for narrowest in (needed - 1, needed):
        facts = [{**of_one, "narrowest": narrowest}]
        (entry,) = evaluate_references(
            [{"name": "x", **line}], loss=loss, activation=activation, reference_arguments=facts
        )[:1]
        few = f"needs at least {needed} neurons in every layer, and one has {narrowest}"
        assert entry["why"] == (few if narrowest < needed else None)
        assert (entry["value"] is None) == (narrowest < needed)


def test_no_line_where_a_matrix_of_the_head_is_not_trained():
    """It is not decayed either, so that the objective lacks a term that the line has."""
    of_one = {"num_classes": 10, "depth": 3, "per_class": 5.0, "weight_decays": [2e-3] * 3, "feature_decay": 2e-3}
    losses = [{"name": "srg", "_target_": "ncbench.theory.dufm_mse.srg_loss"}]
    facts = [{**of_one, "frozen": "head.3.linear.weight"}]
    (loss, spectra) = evaluate_references(losses, loss="mse", activation="relu", reference_arguments=facts)
    why = "decays every matrix, and head.3.linear.weight needs no gradient, so that it is neither trained nor decayed"
    assert (loss["value"], loss["why"], spectra["why"]) == (None, why, why)
