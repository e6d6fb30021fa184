"""Figure of where low rank beats DNC: the sign of every cell and the crossings are those of the records."""

import math

import numpy as np
import pytest

from ncbench.report import figure
from ncbench.report.figures import axis, sign_map
from ncbench.report.figures.sign_map import COLOURS, DNC, LOW_RANK, MOVING, NOTHING_LOWER, OTHER, UNDECIDED
from tests.helpers.run_folders import write_values

NAN, STILL = math.nan, 1e-9
DECAYS = [1e-4, 1e-3, 1e-2]


def write(run, classes, depth, replicas, swept=True, largest=None):
    """Replicas as (decay, loss / DNC loss, rank, gradient); the DNC line is 10 times the decay."""
    dnc = [10 * decay for decay, *_ in replicas]
    values = {
        "loss": [ratio * line for (_, ratio, _, _), line in zip(replicas, dnc, strict=True)],
        f"head.{depth}.pre.rank": [float(rank) for _, _, rank, _ in replicas],
        "grad_max": [gradient for *_, gradient in replicas],
    }
    more = {"classes": classes, "depth": depth} if swept else {}
    points = [{**more, "decay": decay} for decay, *_ in replicas]
    spectra = {f"head.{depth}.pre": [[one, one / 2] for one in largest]} if largest else {}
    about = {"lines": {"dnc": dnc}, "spectra": spectra}
    return write_values(run, values, [], swept=points, depth=depth, classes=classes, **about)


def rows(fig):
    """The states of every row's cells, by the row's label."""
    ax = fig.axes[0]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    states = [[list(COLOURS)[int(n)] for n in np.ravel(mesh.get_array())] for mesh in ax.collections]
    return dict(zip(labels, states, strict=True))


def marks(fig):
    ax = fig.axes[0]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines if line.get_marker() == "D"]


def legend(fig):
    return [text.get_text() for one in fig.legends for text in one.get_texts()]


@pytest.fixture
def sweep(tmp_path):
    """K = 4, L = 2: ratios 1.01, 1.01 and 0.99; K = 3, L = 1: every replica at DNC; K = 6, L = 2: always below."""
    ends = [(decay, ratio, 2, STILL) for decay, ratio in zip(DECAYS, (1.01, 1.01, 0.99), strict=True)]
    at_dnc = [(decay, 1.0, 3, STILL) for decay in DECAYS]
    write(tmp_path / "4-2", 4, 2, [*ends, *at_dnc, (1e-4, 1.2, 2, STILL), (1e-4, 0.5, 2, 1e-3)])
    write(tmp_path / "3-1", 3, 1, [(decay, 1.0 + 1e-9, 2, STILL) for decay in DECAYS])
    write(tmp_path / "6-2", 6, 2, [(decay, 0.9, 3, STILL) for decay in DECAYS])
    return tmp_path


def test_the_sign_of_the_best_low_rank_end_and_where_it_changes(sweep, mutant):
    """In logarithms 1.01 -> 0.99 passes 1 at log(1.01) / log(1.01 / 0.99) = 0.4975 of the decade."""
    fig = figure.sign_map(sweep)
    assert rows(fig) == {
        "K = 3, L = 1": [NOTHING_LOWER] * 3,
        "K = 4, L = 2": [DNC, DNC, LOW_RANK],
        "K = 6, L = 2": [LOW_RANK] * 3,
    }
    crossing = 10 ** (-3 + math.log(1.01) / math.log(1.01 / 0.99))
    assert marks(fig) == [([], []), ([pytest.approx(crossing)], [1]), ([], [])]
    assert [text.get_text() for text in fig.axes[0].texts] == [f"{crossing:.4g}"] == ["0.003144"]
    borders = fig.axes[0].collections[0].get_coordinates()[0, :, 0]
    np.testing.assert_allclose(borders, [10**-4.5, 10**-3.5, 10**-2.5, 10**-1.5])
    assert (fig.axes[0].get_xscale(), fig.axes[0].get_xlabel()) == ("log", "decay")
    assert legend(fig) == [LOW_RANK, DNC, NOTHING_LOWER, "equal losses"]
    unconverged = mutant(sign_map, '(part["gradient"] <= stationary) & ', "")
    assert rows(unconverged.sign_map(sweep))["K = 4, L = 2"] == [LOW_RANK, DNC, LOW_RANK]
    of_any_rank = mutant(sign_map, '(still["rank"] < still["K"] - 1)', '(still["rank"] < still["K"])')
    assert rows(of_any_rank.sign_map(sweep))["K = 4, L = 2"] == [UNDECIDED, UNDECIDED, LOW_RANK]


def test_states_that_decide_nothing(tmp_path):
    cells = [
        (1e-5, 1 + 5e-8, 2, STILL),  # the two are equal within 1e-7
        (1e-4, 0.9, 2, 1e-3),  # nothing has converged
        (1e-3, 0.9, 3, STILL),  # below DNC, of its rank
        (1e-2, 1.5, 0, STILL),  # the zero solution alone
        (1e-1, NAN, 2, STILL),
    ]
    write(tmp_path / "4-2", 4, 2, cells)
    write(tmp_path / "5-2", 5, 2, [(1e-5, 1.1, 3, STILL)])
    assert rows(figure.sign_map(tmp_path)) == {
        "K = 4, L = 2": [UNDECIDED, MOVING, OTHER, NOTHING_LOWER, MOVING],
        "K = 5, L = 2": [DNC],
    }
    assert marks(figure.sign_map(tmp_path)) == [([], []), ([], [])]
    assert rows(figure.sign_map(tmp_path, tolerance=1e-8))["K = 4, L = 2"][0] == DNC
    assert rows(figure.sign_map(tmp_path, stationary=1e-2))["K = 4, L = 2"][1] == LOW_RANK


def test_what_is_left_of_a_zero_has_no_rank(tmp_path):
    """A dead replica's logits are rounding, here of rank 2: their largest singular value tells."""
    ends = [(1e-4, 1.5, 2, STILL), (1e-3, 1.2, 2, STILL)]
    write(tmp_path / "4-2", 4, 2, ends, largest=[1e-12, 3.0])
    write(tmp_path / "5-2", 5, 2, ends)
    assert rows(figure.sign_map(tmp_path)) == {"K = 4, L = 2": [NOTHING_LOWER, DNC], "K = 5, L = 2": [DNC, DNC]}


def test_a_theory_line_of_every_replica_and_a_decay_by_name(tmp_path):
    for K in (4, 5):
        swept = [{"weight_decay": lam, "feature_decay": 2 * lam} for lam in DECAYS]
        values = {"loss": [0.9, 1.8, 2.7], "head.2.pre.rank": [2.0] * 3, "grad_max": [STILL] * 3}
        lines = {"dnc": [1.0, 2.0, 2.5]}
        write_values(tmp_path / str(K), values, [], lines=lines, swept=swept, depth=2, classes=K)
    assert rows(figure.sign_map(tmp_path))["K = 5, L = 2"] == [LOW_RANK, LOW_RANK, DNC]
    assert figure.sign_map(tmp_path, decay="feature_decay").axes[0].get_xlabel() == "feature_decay"
    with pytest.raises(
        ValueError, match=r"decay='width' has to be a number that varies, one of \['weight_decay', 'fea"
    ):
        figure.sign_map(tmp_path, decay="width")


def test_a_map_needs_decays_and_pairs_of_k_and_l(tmp_path):
    write(tmp_path / "a", 4, 2, [(lam, 0.9, 2, STILL) for lam in DECAYS])
    with pytest.raises(figure.NoRecordsError, match="only one pair of K and L; the map compares several"):
        figure.sign_map(tmp_path / "a")
    write(tmp_path / "b", 4, 2, [(1e-3, 0.9, 2, STILL)])
    with pytest.raises(figure.NoRecordsError, match="no decay varies"):
        figure.sign_map(tmp_path / "b")
    write(tmp_path / "c", 4, 2, [(lam, 0.9, 2, NAN) for lam in DECAYS])
    with pytest.raises(figure.NoRecordsError, match=r"no gradient \(grad_max\) recorded"):
        figure.sign_map(tmp_path / "c")
    swept = [{"decay": lam} for lam in DECAYS]
    write_values(tmp_path / "d", {"loss": [0.1] * 3, "grad_max": [STILL] * 3}, [], swept=swept)
    with pytest.raises(figure.NoRecordsError, match="no run with a DNC line"):
        figure.sign_map(tmp_path / "d")
    write_values(tmp_path / "e", {"loss": [0.1] * 3, "grad_max": [STILL] * 3}, [], lines={"dnc": 0.1}, swept=swept)
    with pytest.raises(figure.NoRecordsError, match="no rank of the logits recorded at a decay above 0"):
        figure.sign_map(tmp_path / "e")


def test_cells_end_between_neighbours():
    np.testing.assert_allclose(axis.edges(np.array([1.0, 10.0, 1000.0])), [10**-0.5, 10**0.5, 100, 1e4])
