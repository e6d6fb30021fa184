"""Figures of ensembles of fully connected networks: what is drawn is what was recorded; drawn only where it was."""

import math

import numpy as np
import pytest

from ncbench.report import figure
from ncbench.report.__main__ import make_report
from ncbench.report.figures import arrangement, blocks, bounds, predicted, size_scaling, style, tails
from ncbench.report.pages import catalogue
from ncbench.report.selectors import num_classes
from tests.helpers.ensemble_folders import FIRST, LAST, block_gram, grid, line, pair_values, write_ensemble
from tests.helpers.run_folders import write_run

NAN = math.nan


def drawn(ax, label):
    return [one for one in ax.lines if one.get_label() == label]


def legend(fig):
    return [text.get_text() for one in fig.legends for text in one.get_texts()]


# bounds


def test_bounds_draws_every_pair_and_writes_the_quantiles(tmp_path, mutant):
    """distance / (10 (l - j) distance + distance / 10) = 1 / 10.1 and 1 / 20.1, for all replicas."""
    values = pair_values(5, 2)
    values["head.2.weight.tightness@head.1"] = [0.2, 0.2, 0.4, 0.4, NAN]
    run = write_ensemble(tmp_path / "run", grid(5), values)
    fig = figure.bounds(run)
    left, right, _ = fig.axes
    points = {label: drawn(left, label)[0] for label in ("1", "2")}
    assert [len(line.get_xdata()) for line in points.values()] == [5 + 4, 5]
    np.testing.assert_allclose(points["2"].get_xdata(), [0.01 * (1 + r / 10) * 20.1 for r in range(5)])
    np.testing.assert_allclose(points["2"].get_ydata(), [0.01 * (1 + r / 10) for r in range(5)])
    (diagonal,) = drawn(left, "distance = bound")
    np.testing.assert_array_equal(*diagonal.get_data())
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert left.get_title() == "0 of 14 pairs above the bound"
    np.testing.assert_allclose(right.images[0].get_array(), [[1 / 10.1, np.nan], [1 / 20.1, 0.3]])
    assert [text.get_text() for text in right.texts] == [
        "0.099\n[0.099, 0.099]",
        "0.05\n[0.05, 0.05]",
        "0.3\n[0.2, 0.4]",
    ]
    assert fig.get_supxlabel() == "1 of 15 pairs left out: the layer is dead, or the network diverged"
    values["head.1.weight.tightness@features"] = [2.0] * 5
    over = figure.bounds(write_ensemble(tmp_path / "over", grid(5), values)).axes[0]
    assert over.get_title() == "5 of 14 pairs above the bound"
    bare = mutant(bounds, 'table["rank_bound"] + table["residual"]', 'table["rank_bound"]')
    (wrong,) = drawn(bare.bounds(run).axes[0], "2")
    assert wrong.get_xdata()[0] == pytest.approx(0.01 * 20)


def test_bounds_need_records(tmp_path):
    with pytest.raises(figure.NoRecordsError, match="no bound of the distance to rank K recorded"):
        figure.bounds(write_run(tmp_path / "run", [0]))
    values = {key: [NAN] if "tightness" in key else found for key, found in pair_values(1, 1).items()}
    with pytest.raises(figure.NoRecordsError, match="every layer with a bound is dead"):
        figure.bounds(write_ensemble(tmp_path / "dead", grid(1), values))


# tails


def test_tails_by_hand(tmp_path, mutant):
    """Singular values 2, 1, 1: r = 1, 2/6, 1/6; the median of three replicas, of which one is a zero matrix."""
    spectra = {
        "head.1.weight": {FIRST: [[1.0, 1.0, 0.0]] * 3, LAST: [[2.0, 1.0, 1.0], [2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]},
        "head.1.pre": {LAST: [[1.0, 1.0]] * 3},
    }
    run = write_ensemble(tmp_path / "run", grid(3), {"loss": [0.1] * 3}, spectra=spectra)
    (ax,) = figure.tails(run).axes
    start, end, border = ax.lines
    np.testing.assert_allclose(end.get_ydata(), [1, 1 / 3, 1 / 6])
    np.testing.assert_allclose(start.get_ydata(), [1, 1 / 2, 1e-16])
    assert (start.get_linestyle(), end.get_linestyle(), list(border.get_xdata())) == ("--", "-", [2, 2])
    assert (ax.get_yscale(), ax.get_title(), list(end.get_xdata())) == ("log", "head.1", [0, 1, 2])
    assert (
        figure.tails(run).get_suptitle()
        == "median over replicas, band: quartiles; values below 1e-16 (zeros too) drawn at 1e-16"
    )
    not_squared = mutant(tails, ".to_numpy(dtype=np.float64) ** 2", ".to_numpy(dtype=np.float64)")
    np.testing.assert_allclose(not_squared.tails(run).axes[0].lines[1].get_ydata(), [1, 1 / 2, 1 / 4])


def test_tails_of_many_settings_and_layers_are_spread(tmp_path):
    points = grid(1, weight_decay=[10.0**-i for i in range(11)])
    spectra = {f"head.{l}.weight": {LAST: [[2.0, 1.0]] * 11} for l in range(1, 12)}
    run = write_ensemble(tmp_path / "run", points, {"loss": [0.1] * 11}, spectra=spectra, depth=11, classes=1)
    fig = figure.tails(run)
    assert [ax.get_title() for ax in fig.axes] == [f"head.{l}" for l in (1, 3, 5, 7, 9, 11)]
    assert "5 more layers not drawn" in fig.get_suptitle()
    assert fig.legends[0].get_title().get_text() == "5 more not drawn"
    assert legend(fig)[:6] == [f"weight_decay={10.0**-i:g}" for i in (10, 8, 6, 4, 2, 0)]
    assert legend(fig)[6:] == ["start", "end", "k = K"]
    assert num_classes(run) == {"run": 1}
    with pytest.raises(figure.NoRecordsError, match="no singular values of weights recorded"):
        figure.tails(write_ensemble(tmp_path / "none", points, {"loss": [0.1] * 11}))


# size_scaling


def write_sizes(base, size, sizes, gradients=(1e-6, 1e-5, 1e-6)):
    """Stable rank of head.l is size / 8 + l + seed, TCV 10^-l, for three seeds and two decays."""
    for x in sizes:
        points = [{**point, size: x} for point in grid(3, weight_decay=[1e-3, 1e-2])]
        depth = x if size == "depth" else 4
        values = {"loss": [0.1] * 6, "grad_max": [*gradients, *[1e-6] * 3], "dead_layers": [0.0] * 6}
        for l in range(1, depth + 1):
            values[f"head.{l}.weight.stable_rank"] = [x / 8 + l + p["seed"] for p in points]
            values[f"head.{l}.weight.rank"] = [x + 10 * (p["weight_decay"] == 1e-2) for p in points]
            values[f"head.{l}.pre.tcv_relative"] = [1.0] * 6
            if l < depth:
                values[f"head.{l}.post.tcv_relative"] = [10.0**-l] * 6
        write_ensemble(base / str(x), points, values, depth=depth)
    return base


def test_size_scaling_against_width(tmp_path, mutant):
    """Hidden matrices of L = 4: head.2 and head.3, so l is 2.5 on average; seeds 0, 1, 2."""
    run = write_sizes(tmp_path / "w", "width", [16, 32, 64], gradients=(1e-6, 1e-2, 1e-6))
    fig = figure.size_scaling(run)
    stable, numerical, tcv = fig.axes
    assert (stable.get_xscale(), stable.get_xlabel(), stable.xaxis.get_transform().base) == ("log", "width", 2)
    first, _ = stable.containers
    np.testing.assert_array_equal(first.lines[0].get_xdata(), [16, 32, 64])
    np.testing.assert_allclose(first.lines[0].get_ydata(), [2 + 3.5, 4 + 3.5, 8 + 3.5])  # seed 1 does not count
    (segments,) = (line.get_segments() for line in first.lines[2])
    np.testing.assert_allclose(segments[0][:, 1], [2 + 2.5, 2 + 4.5])
    (open_markers,) = [one for one in stable.lines if one.get_color() and one.get_markerfacecolor() == "none"]
    np.testing.assert_allclose(open_markers.get_ydata(), [2 + 3.5, 4 + 3.5, 8 + 3.5])
    np.testing.assert_allclose(numerical.containers[1].lines[0].get_ydata(), [26, 42, 74])
    np.testing.assert_allclose(tcv.containers[0].lines[0].get_ydata(), [0.111 / 3] * 3)
    assert legend(fig) == ["weight_decay=0.001", "weight_decay=0.01", "not counted: gradient ≥ 0.001 (3 replicas)"]
    everyone = mutant(size_scaling, "STATIONARY = 1e-3", "STATIONARY = 1e9")
    assert len(legend(everyone.size_scaling(run))) == 2
    outer = mutant(size_scaling, 'stage, "inner")', 'stage, "intermediate")')
    assert outer.size_scaling(run).axes[0].containers[0].lines[0].get_ydata()[0] == pytest.approx(2 + 3)


def test_size_scaling_against_depth(tmp_path):
    """Two layers have head.2 alone; five have head.2, head.3, head.4."""
    fig = figure.size_scaling(write_sizes(tmp_path / "d", "depth", [2, 3, 5]))
    assert (fig.axes[0].get_xscale(), fig.axes[0].get_xlabel()) == ("linear", "depth")
    np.testing.assert_allclose(
        fig.axes[0].containers[0].lines[0].get_ydata(), [2 / 8 + 2 + 1, 3 / 8 + 2 + 1, 5 / 8 + 3 + 1]
    )
    with pytest.raises(figure.NoRecordsError, match="neither width nor depth has two values"):
        figure.size_scaling(write_sizes(tmp_path / "one", "depth", [3]))


# blocks


def write_blocks(run, points, losses, classes=2):
    places = ["features.post", "head.1.post", "head.2.pre"]
    count = len(points)
    grams = {
        place: {
            at: [block_gram(2, 3, within * (1 + r), r) for r in range(count)]
            for at, within in ((FIRST, 1.0), (LAST, 0.0))
        }
        for place in places
    }
    values = {"loss": losses, "head.1.post.gram_block": {FIRST: [0.95] * count, LAST: [0.0123] * count}}
    return write_ensemble(run, points, values, grams=grams, classes=classes, depth=2)


def test_blocks_of_the_replica_with_the_lowest_loss(tmp_path, mutant):
    run = write_blocks(tmp_path / "run", grid(2, delta=[1.0, 0.1]), [0.4, 0.3, 0.1, 0.2])
    fig = figure.blocks(run)
    images = [ax for ax in fig.axes if ax.images]
    assert len(images) == 6
    gram = np.array(block_gram(2, 3, 3.0, 2)).reshape(6, 6).astype(np.float32)
    np.testing.assert_allclose(images[0].images[0].get_array(), gram / np.abs(gram).max(), rtol=1e-6)
    np.testing.assert_array_equal(images[-1].images[0].get_array(), np.kron(np.eye(2), np.ones((3, 3))))
    assert [ax.get_title() for ax in images] == [
        *("features", "head.1\ndeviation 0.95", "head.2"),
        *("features", "head.1\ndeviation 0.012", "head.2"),
    ]
    assert {line.get_ydata()[0] for line in images[0].lines} == {2.5, 0.0}  # one border across, one upright
    assert (images[0].get_ylabel(), images[3].get_ylabel()) == ("step 0", "step 1000")
    assert fig.get_suptitle() == "delta=0.1, replica 2"
    worst = mutant(blocks, 'sort_values("value", kind="stable")', 'sort_values("value", ascending=False)')
    assert worst.blocks(run).get_suptitle() == "delta=1, replica 0"
    uneven = figure.blocks(write_blocks(tmp_path / "uneven", grid(1), [0.1], classes=4))
    assert not uneven.axes[0].lines
    with pytest.raises(figure.NoRecordsError, match="no Gram matrices of samples recorded"):
        figure.blocks(write_run(tmp_path / "none", [0]))


# predicted


def write_norms(run, points, law=lambda p: p["delta"] ** 0.5):
    count = len(points)
    values = {"loss": [0.1] * count, "ratio": [NAN] * count}
    for l in (2, 3):
        values[f"head.{l}.weight.norm"] = [law(p) * (0.9 + 0.1 * p["seed"] + 0.1 * (l == 3)) for p in points]
        values[f"head.{l}.pre.norm"] = [99.0] * count
    lines = [
        line("middle", "norm", law(p), [i], layers=["head.2", "head.3"], stage="weight", formula="√δ")
        for i, p in enumerate(points)
    ]
    lines += [
        line("dnc", "loss", 0.1),
        line("edge", "noise", 0.1),
        line("none", "norm", None),
        line("lost", "ratio", 1.0),
    ]
    return write_ensemble(run, points, values, lines=lines)


def test_predictions_and_what_was_recorded(tmp_path, mutant):
    """The mean of 0.9 + s/10 and 1 + s/10 over seeds 0, 1, 2 has median 1.05 and range 0.95 to 1.15."""
    run = write_norms(tmp_path / "run", grid(3, delta=[1.0, 0.01, 100.0]))
    fig = figure.predicted(run)
    (ax,) = fig.axes
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel(), ax.get_ylabel()) == (
        "log",
        "log",
        "delta",
        "Frobenius norm",
    )
    theory = ax.lines[0]
    np.testing.assert_allclose(theory.get_xdata(), [0.01, 1, 100])
    np.testing.assert_allclose(theory.get_ydata(), [0.1, 1, 10])
    (dots,) = ax.containers
    np.testing.assert_allclose(dots.lines[0].get_ydata(), [0.105, 1.05, 10.5])
    np.testing.assert_allclose(dots.lines[2][0].get_segments()[1][:, 1], [0.95, 1.15])
    assert legend(fig) == ["MIDDLE:  √δ"]
    everything = mutant(predicted, 'recorded = recorded[recorded["stage"] == line["stage"]]', "pass")
    assert everything.predicted(run).axes[0].containers[0].lines[0].get_ydata()[0] > 20


def test_predictions_of_a_zero_and_of_further_values(tmp_path):
    fig = figure.predicted(write_norms(tmp_path / "zero", grid(1, delta=[0.0, 1.0]), lambda p: 1 + p["delta"]))
    assert fig.axes[0].get_xscale() == "symlog"
    np.testing.assert_allclose(fig.axes[0].lines[0].get_xdata(), [0, 1])
    points = grid(1, weight_decay=[1e-4, 1e-2], noise_ratio=[1.0, 2.0])
    fig = figure.predicted(write_norms(tmp_path / "noise", points, lambda p: p["noise"]))
    assert fig.axes[0].get_xlabel() == "noise"
    assert legend(fig) == ["MIDDLE:  √δ", "weight_decay=0.0001", "weight_decay=0.01"]
    assert len(fig.axes[0].containers) == 2


def test_where_the_line_does_not_exist_dots_are_joined_by_a_dotted_one(tmp_path):
    points = grid(1, weight_decay=[1e-2, 1.0], noise=[0.1, 1.0])
    lines = [line("gap", "ratio", v, [i], why=None) for i, v in enumerate((0.1, 1.0, None, None))]
    run = write_ensemble(tmp_path / "run", points, {"ratio": [0.1, 1.0, 1e-30, 1.0]}, lines=lines)
    (ax,) = figure.predicted(run).axes
    drawn = [(one.get_linestyle(), list(one.get_ydata())) for one in ax.lines if one.get_linestyle() in ("-", ":")]
    assert ("-", [0.1, 1.0]) in drawn
    assert (":", [1e-8, 1.0]) in drawn  # what an optimiser leaves of a zero stands at the foot of the axis


def test_predictions_need_a_line_a_record_and_an_axis(tmp_path):
    with pytest.raises(figure.NoRecordsError, match="no theory line of another measure than the loss"):
        figure.predicted(write_run(tmp_path / "a", [0]))
    one = write_ensemble(tmp_path / "b", grid(2), {"ratio": [1.0, 2.0]}, lines=[line("x", "ratio", 1.0)])
    with pytest.raises(figure.NoRecordsError, match="no number varies"):
        figure.predicted(one)
    lines = [line("x", "norm", 1.0, layers=["head.2"], stage="weight")]
    none = write_ensemble(tmp_path / "c", grid(1, delta=[1.0, 2.0]), {"loss": [1.0, 2.0]}, lines=lines)
    with pytest.raises(figure.NoRecordsError, match="is not recorded"):
        figure.predicted(none)


# page


def test_a_page_draws_them_where_they_are_recorded_and_nowhere_else(tmp_path, monkeypatch):
    points = grid(1, weight_decay=[1e-4, 1e-3, 1e-2], noise_ratio=[0.5, 1.0, 2.0, 4.0])
    spectra = {"head.1.weight": {at: [[2.0, 1.0]] * 12 for at in (FIRST, LAST)}}
    grams = {"head.1.post": {at: [block_gram(2, 2, 0.1)] * 12 for at in (FIRST, LAST)}}
    values = {"loss": [0.1] * 12, "grad_max": [1e-9] * 12, "head.1.weight.tail": [0.1] * 12}
    values |= {"dead_layers": [0.0] * 12, **pair_values(12, 2)}
    lines = [line("exists", "noise", 0.1), line("x", "tail", 0.1, layers=["head.1"], stage="weight")]
    run = write_ensemble(tmp_path / "run", points, values, spectra=spectra, grams=grams, lines=lines, classes=2)
    known = {entry.name: entry for entry in catalogue.CATALOGUE}
    of_ensembles = ("phase_diagram", "bounds", "tails", "blocks", "predicted", "size_scaling")
    monkeypatch.setattr(catalogue, "CATALOGUE", [known[name] for name in of_ensembles])
    text = make_report(run, tmp_path / "out")[0].read_text()
    names = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {*of_ensembles, "measures"} - {"size_scaling"}
    for name in names:
        assert (tmp_path / "out" / "figures" / f"{name}.pdf").is_file()
        assert f'<section id="{name}-section">' in text
    first = (tmp_path / "out" / "figures" / "phase_diagram.svg").read_bytes()
    monkeypatch.setattr(catalogue, "CATALOGUE", [known["phase_diagram"]])
    monkeypatch.setattr(catalogue, "_further_measures", lambda *_: None)  # drawn once above
    make_report(run, tmp_path / "again")
    assert (tmp_path / "again" / "figures" / "phase_diagram.svg").read_bytes() == first
    monkeypatch.undo()
    monkeypatch.setattr(catalogue, "CATALOGUE", [known["size_scaling"], known["tails"]])
    make_report(write_sizes(tmp_path / "w", "width", [16, 32]), tmp_path / "sizes")
    make_report(write_run(tmp_path / "dufm", [0, 1]), tmp_path / "other")
    assert sorted(path.name for path in (tmp_path / "sizes" / "figures").glob("*.png")) == [
        "measures.png",
        "size_scaling.png",
    ]
    assert {path.stem for path in (tmp_path / "other" / "figures").iterdir()} == {"measures"}


def test_the_labels_of_a_legend_fit_below_a_figure():
    fig, _ = style.panels(1, 2, 3.5, 3)
    assert arrangement.legend_columns(fig, ["short", "shorter"]) == 3
    assert arrangement.legend_columns(fig, ["x" * 35]) == 2
    assert arrangement.legend_columns(fig, ["x" * 200]) == 1
