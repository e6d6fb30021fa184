"""Figures of where training ends, by loss and by rank: dots, means and counts are those of the records."""

import math

import numpy as np
import pytest

from ncbench.report import figure
from ncbench.report.figures import axis, end_states, rank_over
from tests.helpers.run_folders import write_values

NAN, STILL, MOVING = math.nan, 1e-9, 1e-3
LINES = {"pairs": 0.080013, "dnc": 0.090662, "zero": math.log(10)}


def legend(fig):
    return [text.get_text() for one in fig.legends for text in one.get_texts()]


def dots(ax, label):
    """Heights of all dots with this label, ascending, rounded."""
    return sorted(round(float(y), 9) for line in ax.lines if line.get_label() == label for y in line.get_ydata())


def write(run, losses, gradients, lines=LINES, **swept):
    values = {"loss": losses, "grad_max": gradients}
    return write_values(run, values, [], lines=lines, swept=[swept] * len(losses))


# end_states


def test_every_replica_stands_at_the_level_it_ended_at(tmp_path):
    losses = [0.080013, 0.0801, 0.0907, 0.085, 0.080013, 0.083, 2.302585, 0.5, NAN]
    gradients = [*[STILL] * 4, MOVING, NAN, STILL, MOVING, STILL]
    fig = figure.end_states(write(tmp_path / "run", losses, gradients))
    ax = fig.axes[0]
    assert dots(ax, "pairs") == [0.080013, 0.0801]
    assert dots(ax, "dnc") == [0.0907]
    assert dots(ax, "no known level") == [0.085]
    assert dots(ax, "not converged") == [0.080013, 0.083]
    assert dots(ax, "zero, above") == dots(ax, "not converged, above") == [1.0]  # on the upper edge
    assert ax.get_ylim()[1] < 0.1
    assert legend(fig) == [
        *("pairs 0.080013: 2", "dnc 0.090662: 1", "zero 2.30259: 1", "no known level: 1", "not converged: 3"),
        *("diverged: 1", "above the axis: 2, up to 2.3"),
    ]
    levels = {one.get_label(): one.get_segments()[0][:, 1].tolist() for one in ax.collections}
    assert levels == {f"level {name}": [value] * 2 for name, value in LINES.items()}
    (right,) = ax.child_axes
    assert [text.get_text() for text in right.get_yticklabels()] == ["pairs", "dnc"]


def test_every_setting_is_a_column_with_levels_of_its_own(tmp_path, mutant):
    for job, decay in enumerate([1e-3, 2e-3]):
        lines = {"dnc": 0.1 + 0.05 * job, "lower_bound": 0.09}
        write(tmp_path / str(job), [0.1, 0.15, 0.09], [STILL] * 3, lines, decay=decay)
    fig = figure.end_states(tmp_path)
    ax = fig.axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.001", "0.002"]
    assert ax.get_xlabel() == "decay"
    at_dnc = [line for line in ax.lines if line.get_label() == "dnc"]
    assert {round(float(line.get_xdata()[0])): line.get_ydata()[0] for line in at_dnc} == pytest.approx(
        {0: 1.0, 1: 1.0}
    )
    assert dots(ax, "no known level") == pytest.approx([0.09 / 0.15, 0.1 / 0.15, 0.9, 1.5])
    starts = [one.get_segments()[0][0] for one in ax.collections if one.get_label() == "level lower_bound"]
    np.testing.assert_allclose(starts, [[-0.45, 0.9], [0.55, 0.6]])
    assert [text.get_text() for text in ax.child_axes[0].get_yticklabels()] == ["lower_bound", "dnc"]
    assert ax.get_ylabel() == "final loss / DNC loss"
    assert legend(fig) == ["dnc: 2", "no known level: 4"]  # nothing ends at a bound
    write(tmp_path / "more", [0.2], [STILL], {}, decay=3e-3)
    assert figure.end_states(tmp_path).axes[0].get_ylabel() == "final loss"  # not all have a DNC line
    of_all = mutant(end_states, "if BOUND not in name", "if True")
    assert legend(of_all.end_states(tmp_path))[1] == "lower_bound 0.09: 2"


def test_what_is_above_the_axis_is_told_in_the_units_of_the_axis(tmp_path):
    for job, dnc in enumerate([0.1, 0.2]):
        write(tmp_path / str(job), [dnc, 0.9], [STILL] * 2, {"dnc": dnc}, decay=1e-3 * (job + 1))
    # 0.9 / 0.1 = 9 is the larger ratio.
    assert legend(figure.end_states(tmp_path))[-1] == "above the axis: 2, up to 9"


def test_columns_of_decays_that_are_powers_of_two(tmp_path):
    swept = [{"decay": 2.0**-k, "start": start} for k in (12, 10) for start in ("a", "b")]
    values = {"loss": [0.1] * 4, "grad_max": [STILL] * 4}
    run = write_values(tmp_path / "run", values, [], lines={"dnc": 0.1}, swept=swept)
    ax = figure.end_states(run).axes[0]
    power = [rf"$\mathregular{{2^{{-{k}}}}}$" for k in (12, 10)]
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"{p}\n{start}" for p in power for start in "ab"]
    assert ax.get_xlabel() == "decay, start"


def test_losses_of_many_sizes_stand_on_a_logarithmic_axis(tmp_path):
    for job, loss in enumerate([0.01, 0.1]):
        write(tmp_path / str(job), [loss], [STILL], {"pairs": loss}, decay=loss)
    assert figure.end_states(tmp_path).axes[0].get_ylabel() == "final loss"
    assert figure.end_states(tmp_path).axes[0].get_yscale() == "log"


@pytest.mark.parametrize(
    ("values", "lines", "message"),
    [
        ({"loss": [0.1]}, LINES, r"no gradient \(grad_max\) recorded: nothing says which replicas have converged"),
        ({"loss": [0.1], "grad_max": [STILL]}, {}, "no theory line of the loss to compare with"),
        ({"loss": [0.1], "grad_max": [STILL]}, {"lower_bound": 0.1}, "no theory line of the loss to compare with"),
        ({"accuracy": [0.1]}, LINES, "no loss recorded yet"),
        ({"loss": [NAN], "grad_max": [STILL]}, LINES, "the loss is recorded, but none of its values is finite"),
    ],
)
def test_end_states_need_losses_gradients_and_levels(tmp_path, values, lines, message):
    run = write_values(tmp_path / "run", values, [], lines=lines)
    with pytest.raises(figure.NoRecordsError, match=message):
        figure.end_states(run)


def test_columns_that_have_no_room_are_named(tmp_path):
    swept = [{"decay": 10.0**-i} for i in range(25)]
    values = {"loss": [0.1] * 25, "grad_max": [STILL] * 25}
    run = write_values(tmp_path / "run", values, [], lines=LINES, swept=swept)
    fig = figure.end_states(run)
    assert len(fig.axes[0].get_xticks()) == 24
    assert fig.left_out == "1 more setting is not drawn here; where={'decay': 1.0} draws it"


# rank_over


def write_ranks(run, logits, inner, gradients, **swept):
    values = {"head.2.pre.rank": logits, "head.1.pre.rank": inner, "loss": [0.1] * len(logits), "grad_max": gradients}
    return write_values(run, values, [], swept=[swept] * len(logits), depth=2)


@pytest.fixture
def ranks(tmp_path):
    """At width 10: 5, 6, 7 converged and a transient 9; at width 100: 9, 9 converged."""
    write_ranks(tmp_path / "a", [5.0, 6.0, 7.0, 9.0], [3.0] * 4, [STILL, STILL, 1e-6, MOVING], width=10)
    write_ranks(tmp_path / "b", [9.0, 9.0, 4.0], [4.0] * 3, [STILL, STILL, NAN], width=100)
    return tmp_path


def test_ranks_are_read_of_converged_replicas(ranks, mutant):
    fig = figure.rank_over(ranks)
    (ax,) = fig.axes
    (mean,) = [line for line in ax.lines if line.get_label() == "mean of the converged"]
    assert (list(mean.get_xdata()), list(mean.get_ydata())) == ([10, 100], [6, 9])
    (path,) = ax.collections[0].get_paths()
    assert {y for x, y in path.vertices.round(9) if x == 10} == {5.0, 7.0}  # the deviation of 5, 6, 7 is 1
    faint = [line for line in ax.lines if line.get_alpha() == 0.3]
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert [list(line.get_ydata()) for line in faint] == [[5, 6, 7], [9, 9]]
    assert [list(line.get_ydata()) for line in hollow] == [[9], [4]]
    assert all(abs(math.log10(x) - 1) < 0.21 for x in faint[0].get_xdata())
    assert len(set(faint[0].get_xdata())) == 3
    assert legend(fig) == ["mean of the converged", "not converged, in no mean: 2 of 7 replicas"]
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "width", "numerical rank of the logits")
    lenient = mutant(rank_over, 'table["gradient"] <= stationary', 'table["gradient"] < 1')
    assert list(lenient.rank_over(ranks).axes[0].lines[0].get_ydata()) == [6.75, 9]


def test_ranks_of_other_layers_and_other_bounds(ranks):
    (ax,) = figure.rank_over(ranks, layers="intermediate").axes
    assert (list(ax.lines[0].get_ydata()), ax.get_ylabel()) == ([3, 4], "numerical rank of the intermediate layers")
    (ax,) = figure.rank_over(ranks, layers=["head.1", "head.2"], stationary=1e-2).axes
    assert list(ax.lines[0].get_ydata()) == [(5 + 6 + 7 + 9) / 8 + 1.5, 6.5]
    with pytest.raises(figure.NoRecordsError, match=r"no rank of head.3 \(pre\) recorded"):
        figure.rank_over(ranks, layers="head.3")


def test_the_logits_are_the_last_layer_of_every_depth_and_a_second_quantity_has_curves(tmp_path):
    for depth in (1, 2, 3):
        for start in ("pairs", "random"):
            values = {f"head.{l}.pre.rank": [float(10 * l + (start == "pairs"))] for l in range(1, depth + 1)}
            values |= {"loss": [0.1], "grad_max": [STILL]}
            swept = [{"depth": depth, "start": start}]
            write_values(tmp_path / f"{start}{depth}", values, [], swept=swept, depth=depth)
    fig = figure.rank_over(tmp_path)
    lines = {line.get_label(): list(line.get_ydata()) for line in fig.axes[0].lines}
    assert lines["start=pairs"] == [11, 21, 31]
    assert lines["start=random"] == [10, 20, 30]
    assert legend(fig) == ["start=pairs", "start=random"]


def test_where_nothing_has_converged_there_is_no_mean(tmp_path):
    for width in (10, 20):
        write_ranks(tmp_path / str(width), [9.0, 8.0], [3.0] * 2, [MOVING] * 2, width=width)
    fig = figure.rank_over(tmp_path)
    assert len(fig.axes[0].lines[0].get_xdata()) == 0
    assert legend(fig)[-1] == "not converged, in no mean: 4 of 4 replicas"


def test_ranks_need_gradients(tmp_path):
    for width in (10, 20):
        values = {"loss": [0.1], "head.1.pre.rank": [2.0]}
        write_values(tmp_path / "a" / str(width), values, [], swept=[{"width": width}], depth=1)
    with pytest.raises(figure.NoRecordsError, match=r"no gradient \(grad_max\) recorded: a rank is read of replicas"):
        figure.rank_over(tmp_path / "a")
    write_ranks(tmp_path / "b", [9.0], [3.0], [STILL], width=10)
    with pytest.raises(figure.NoRecordsError, match="fewer than two runs with a rank to compare"):
        figure.rank_over(tmp_path / "b")


def test_jittered_dots_keep_to_their_number_and_curve():
    places = axis.jittered(30.0, 50, [10, 30, 50])
    assert len(set(places)) == 50
    assert 26 <= min(places) < 27 < 33 < max(places) <= 34
    lower, upper = (axis.jittered(30.0, 50, [10, 30, 50], curve, 2) for curve in (0, 1))
    assert max(lower) < 30 < min(upper)
    np.testing.assert_allclose(
        np.log(axis.jittered(10.0, 4, [10, 1000])), np.log(10) + (axis.jittered(0, 4, [0, 1])) * np.log(100)
    )
