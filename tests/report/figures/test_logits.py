"""Figure of the mean logits: the replicas chosen, their matrices and the order of their classes."""

import math

import numpy as np
import pytest
import torch

from ncbench.measure import Measurement
from ncbench.records.writer import RecordWriter
from ncbench.report import figure
from ncbench.report.figures import logits
from ncbench.report.figures.logits import class_order
from tests.helpers.run_folders import LAST, write_values

K = 6
DNC = 5 * (np.eye(K) - 1 / K)
ORDER = [3, 0, 5, 1, 4, 2]
ANTI = np.array([[1.0, -1.0], [-1.0, 1.0]])
PAIRS = np.kron(np.eye(3), 7 * ANTI)[np.ix_(ORDER, ORDER)]  # pairs {1, 3}, {0, 5}, {2, 4}: where 0 and 1, ... went


def write(run, losses, matrices, layer="head.2", lines=None, swept=None, gradients=None):
    """Replicas whose mean output for class c is column c of their matrix, and whose hidden layer has other means."""
    ranks = [float(np.linalg.matrix_rank(np.nan_to_num(M))) for M in matrices]
    values = {"loss": losses, f"{layer}.pre.rank": ranks}
    values |= {} if gradients is None else {"grad_max": gradients}
    depth = int(layer.removeprefix("head."))
    write_values(run, values, [], lines=lines or {}, depth=depth, swept=[swept or {}] * len(losses))
    rows = torch.from_numpy(np.stack([M.T for M in matrices]))
    whole = Measurement(
        values={("train", "", "", "loss"): torch.tensor(losses, dtype=torch.float64)},
        means={(layer, "pre"): rows, ("head.1", "pre"): rows[..., :2]},
    )
    whole.values["train", layer, "pre", "rank"] = torch.tensor(ranks, dtype=torch.float64)
    if gradients is not None:
        whole.values["train", "", "", "grad_max"] = torch.tensor(gradients, dtype=torch.float64)
    RecordWriter(run, range(len(losses))).write(LAST, 100.0, whole)
    return run


def drawn(ax):
    return np.asarray(ax.images[0].get_array())


def test_the_best_replica_and_the_one_nearest_to_dnc(tmp_path, mutant):
    losses, matrices = [0.11, 0.08, 0.0901, 0.2], [DNC, PAIRS, 1.1 * DNC, DNC]
    run = write(tmp_path / "run", losses, matrices, lines={"dnc": 0.09}, gradients=[1e-9, 1e-9, 1e-3, 1e-9])
    fig = figure.logits(run)
    best, nearest, _ = fig.axes
    assert best.get_title() == "lowest loss: replica 1\nloss 0.08, rank 3"
    assert nearest.get_title() == "nearest to DNC (0.09): replica 2\nloss 0.0901, rank 5, not converged"
    np.testing.assert_allclose(drawn(best), np.kron(np.eye(3), 7 * ANTI))
    np.testing.assert_allclose(drawn(nearest), 1.1 * DNC)
    assert {ax.images[0].get_clim() for ax in (best, nearest)} == {(-7, 7)}
    order = [int(tick.get_text()) for tick in best.get_xticklabels()]
    assert {frozenset(order[i : i + 2]) for i in (0, 2, 4)} == {frozenset({1, 3}), frozenset({0, 5}), frozenset({2, 4})}
    assert [tick.get_text() for tick in nearest.get_yticklabels()] == list("012345")
    by_labels = mutant(logits, "panel.M[np.ix_(order, order)]", "panel.M")
    assert not np.array_equal(drawn(by_labels.logits(run).axes[0]), np.kron(np.eye(3), 7 * ANTI))


def test_columns_are_classes(tmp_path):
    M = DNC.copy()
    M[0, 1] = -3.0  # output 0 for class 1
    (ax, _) = figure.logits(write(tmp_path / "run", [0.1], [M])).axes
    order = class_order(M)
    assert drawn(ax)[order.index(0), order.index(1)] == -3
    assert drawn(ax)[order.index(1), order.index(0)] == pytest.approx(M[1, 0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("class", "output")


def test_one_panel_where_none_other_is_at_dnc_and_a_row_for_each_setting(tmp_path):
    for job, depth in enumerate([2, 3, 4, 5]):
        lines = {"dnc": 0.1} if depth == 4 else {}
        layer = f"head.{depth}"
        write(tmp_path / str(job), [0.1, 0.09], [DNC, PAIRS], layer=layer, lines=lines, swept={"depth": depth})
    fig = figure.logits(tmp_path)
    titles = [ax.get_title().split(":")[0] for ax in fig.axes if ax.images]
    assert titles == ["lowest loss", "lowest loss", "nearest to DNC (0.1)", "lowest loss"]
    assert fig.get_supxlabel() == "1 more not drawn"
    for name, lines in (("same", {"dnc": 0.1}), ("far", {"dnc": 0.18})):
        alone = figure.logits(write(tmp_path / name, [0.0999, 0.1], [DNC, PAIRS], lines=lines))
        assert [ax.get_title().splitlines()[0] for ax in alone.axes if ax.images] == ["lowest loss: replica 0"]


@pytest.mark.parametrize("blocks", [[2, 2, 2], [3, 2, 1], [4, 2], [2, 2, 1, 1], [3, 3, 3], [6, 2, 2]])
def test_blocks_become_contiguous(blocks, mutant):
    """Under any labels the classes of a block of more than one stand next to one another, also with rounding errors."""
    size, rng = sum(blocks), np.random.default_rng(0)
    M, owner = np.zeros((size, size)), np.repeat(range(len(blocks)), blocks)
    for number, k in enumerate(blocks):
        M[np.ix_(owner == number, owner == number)] = 3.0 if k == 1 else 4 * (np.eye(k) * k - 1) / (k - 1)
    for _ in range(5):
        mixed = rng.permutation(size)
        noisy = M[np.ix_(mixed, mixed)] + 1e-6 * rng.normal(size=(size, size))
        owners = owner[mixed][class_order(noisy)]
        for number, k in enumerate(blocks):
            places = np.flatnonzero(owners == number)
            assert k == 1 or places[-1] - places[0] == k - 1
    far_first = mutant(logits, "np.round(1 - near / top, 3)", "np.round(near / top, 3)")
    apart = [owner[far_first.class_order(M)][i] == owner[far_first.class_order(M)][i + 1] for i in range(size - 1)]
    assert sum(apart) < size - len(blocks)


def test_where_nothing_tells_the_classes_apart_the_labels_do():
    noise = 1e-6 * np.random.default_rng(0).normal(size=(K, K))
    for M in (DNC, DNC + noise, np.zeros((K, K)), np.eye(2)):
        assert class_order(M) == list(range(len(M)))


def test_logits_need_class_means_of_the_output(tmp_path):
    write_values(tmp_path / "none", {"loss": [0.1]}, [])
    with pytest.raises(figure.NoRecordsError, match="no class means of the logits recorded"):
        figure.logits(tmp_path / "none")
    run = write(tmp_path / "run", [0.1], [np.full((K, K), math.nan)])
    with pytest.raises(figure.UndefinedError, match="the mean logits of the best replica are not finite"):
        figure.logits(run)
    run = write(tmp_path / "diverged", [math.nan], [DNC])
    with pytest.raises(figure.NoRecordsError, match="no class means of the logits recorded where the loss was last"):
        figure.logits(run)


def test_class_means_of_the_start_are_not_those_of_the_end(tmp_path):
    """An unfinished run has class means of step 0 and later losses."""
    run = write(tmp_path / "run", [0.1], [DNC])
    later = Measurement(values={("train", "", "", "loss"): torch.tensor([0.05], dtype=torch.float64)})
    RecordWriter(run, [0]).write(LAST + 1, 101.0, later)
    with pytest.raises(figure.NoRecordsError, match="training has not ended"):
        figure.logits(run)
