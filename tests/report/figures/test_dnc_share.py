"""Figure of how often DNC is found: shares, bands, curves and axes are those of the records."""

import numpy as np
import pytest

from ncbench.report import figure
from ncbench.report.figures import dnc_share
from ncbench.report.statistics import wilson
from tests.helpers.run_folders import write_values


def write(run, losses, lines=0.1, **swept):
    return write_values(run, {"loss": losses}, [], lines={"dnc": lines}, swept=[swept] * len(losses))


def replicated(run, points, losses):
    """One run whose replicas differ in `points`, DNC line 0.1."""
    return write_values(run, {"loss": losses}, [], lines={"dnc": 0.1}, swept=points)


def curve(ax, label):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return [float(v) for v in found.get_xdata()], [float(v) for v in found.get_ydata()]


def band(collection, number):
    """Lowest and highest place of a band at a number of the axis."""
    (path,) = collection.get_paths()
    heights = path.vertices[np.isclose(path.vertices[:, 0], number)][:, 1]
    return heights.min(), heights.max()


@pytest.fixture
def sweep(tmp_path):
    write(tmp_path / "a", [0.1, 0.1005, 0.09, 0.2], classes=6)
    write(tmp_path / "b", [0.08, 0.09, 0.085, 0.1], classes=10)
    return tmp_path


def test_share_of_dnc_and_of_what_is_below_with_wilson_bands(sweep, mutant):
    """At K = 6 two of four losses are within 1 % of 0.1 and one is below; at K = 10 one and three."""
    (ax,) = figure.dnc_share(sweep).axes
    assert curve(ax, "DNC (within 1 % of its loss)") == ([6.0, 10.0], [0.5, 0.25])
    assert curve(ax, "below DNC") == ([6.0, 10.0], [0.25, 0.75])
    reached, below = ax.collections
    assert band(reached, 6) == pytest.approx(wilson(2, 4))
    assert band(below, 10) == pytest.approx(wilson(3, 4))
    assert (ax.get_xlabel(), ax.get_xscale()) == ("classes", "linear")
    assert ax.get_title() == "4 replicas each, bands: 95 %"
    wide = mutant(dnc_share, "(1 - NEAR, 1 + NEAR)", "(1 - 12 * NEAR, 1 + NEAR)")
    assert curve(wide.dnc_share(sweep).axes[0], "DNC (within 1 % of its loss)")[1] == [0.75, 0.5]


def test_a_second_quantity_has_a_curve_for_each_of_its_values(tmp_path):
    """Width by rule of initialisation: with `entry` the share rises from 0 to 1, with `fan_in` it is 0."""
    for width in (10, 30, 100):
        for rule in ("entry", "fan_in"):
            losses = [0.1 if rule == "entry" and replica * 45 < width - 10 else 0.08 for replica in range(3)]
            write(tmp_path / f"{rule}{width}", losses, width=width, init_rule=rule)
    fig = figure.dnc_share(tmp_path)
    (ax,) = fig.axes
    assert curve(ax, "init_rule=entry") == ([10.0, 30.0, 100.0], pytest.approx([0.0, 1 / 3, 2 / 3]))
    assert curve(ax, "init_rule=fan_in") == ([10.0, 30.0, 100.0], [0.0, 0.0, 0.0])
    assert len(ax.lines) == len(ax.collections) == 2
    assert {line.get_color() for line in ax.lines} == {"#0072B2", "#E69F00"}
    assert [band(ax.collections[0], width) for width in (10, 100)] == [
        pytest.approx(wilson(0, 3)),
        pytest.approx(wilson(2, 3)),
    ]
    assert {text.get_text() for text in fig.legends[0].get_texts()} == {"init_rule=entry", "init_rule=fan_in"}
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "share of replicas within 1 % of DNC")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10", "30", "100"]


def test_replicated_decays_that_are_powers_of_two(tmp_path):
    """Four decays and two scales in one run: the decays have more values and stand on the axis."""
    decays, scales = [2.0**-12, 2.0**-11, 2.0**-10, 2.0**-8], [0.3, 1.0]
    points = [{"decay": decay, "init_scale": scale} for decay in decays for scale in scales for _ in range(2)]
    run = replicated(tmp_path / "run", points, [0.1 if p["init_scale"] == 1 else 0.05 for p in points])
    (ax,) = figure.dnc_share(run).axes
    assert curve(ax, "init_scale=1") == (decays, [1.0] * 4)
    assert curve(ax, "init_scale=0.3") == (decays, [0.0] * 4)
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    assert ticks == [f"$\\mathregular{{2^{{{power}}}}}$" for power in (-12, -11, -10, -8)]
    (turned,) = figure.dnc_share(run, x="init_scale").axes
    assert curve(turned, "decay=0.000976562") == (scales, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"x='width' has to be a number that varies, one of \['decay', 'init_scale'"):
        figure.dnc_share(run, x="width")


def test_two_decays_that_vary_together_are_one_axis_and_a_network_of_two_runs_is_counted_once(tmp_path):
    for job, decay in enumerate([1e-3, 1e-3, 2e-3]):
        write(tmp_path / str(job), [0.1, 0.05][: 1 + job % 2], weight_decay=decay, feature_decay=decay)
    (ax,) = figure.dnc_share(tmp_path).axes
    assert curve(ax, "DNC (within 1 % of its loss)") == (
        [1e-3, 2e-3],
        pytest.approx([1 / 2, 1.0]),
    )  # seed 0 twice
    assert ax.get_title() == "1 to 2 replicas each, bands: 95 %"


def test_a_diverged_replica_has_found_nothing(tmp_path):
    for job, classes in enumerate([6, 10]):
        write(tmp_path / str(job), [0.1, np.nan, np.inf, 0.1], classes=classes)
    (ax,) = figure.dnc_share(tmp_path).axes
    assert curve(ax, "DNC (within 1 % of its loss)")[1] == [0.5, 0.5]
    assert curve(ax, "below DNC")[1] == [0.0, 0.0]


def test_share_needs_two_runs_with_a_dnc_line(tmp_path):
    write(tmp_path / "a", [0.1, 0.2], classes=6)
    with pytest.raises(figure.NoRecordsError, match="fewer than two runs with a DNC line to compare"):
        figure.dnc_share(tmp_path)
    write_values(tmp_path / "a", {"loss": [0.1]}, [])
    with pytest.raises(figure.NoRecordsError, match="no run with a DNC line"):
        figure.dnc_share(tmp_path)


def test_share_is_drawn_over_one_number_with_curves_of_the_others(tmp_path):
    points = [(6, 3, 10), (6, 4, 10), (10, 3, 10), (10, 4, 20)]
    for job, (classes, depth, width) in enumerate(points):
        write(tmp_path / "a" / str(job), [0.1, 0.2], classes=classes, depth=depth, width=width)
    (ax,) = figure.dnc_share(tmp_path / "a").axes
    assert ax.get_xlabel() == "classes"
    assert [line.get_label() for line in ax.lines] == ["depth=3, width=10", "depth=4, width=10", "depth=4, width=20"]
    two = [{"decay": d, "start": s, "noise": n} for d in (1e-3, 2e-3) for s in ("a", "b") for n in range(4)]
    fig = figure.dnc_share(replicated(tmp_path / "d", two, [0.1] * len(two)), x="decay")
    assert [ax.get_title() for ax in fig.axes] == ["start=a", "start=b"]
    assert [[line.get_label() for line in ax.lines] for ax in fig.axes] == [[f"noise={n}" for n in range(4)]] * 2
    assert len({line.get_color() for line in fig.axes[0].lines}) == 4
    assert fig.left_out == ""
    many = [{"decay": decay, "start": f"s{j}"} for decay in (1e-3, 2e-3) for j in range(7)]
    fig = figure.dnc_share(replicated(tmp_path / "b", many, [0.1] * len(many)))
    assert [ax.get_title() for ax in fig.axes] == [f"start=s{j}" for j in range(6)]
    (missing,) = [text for text in fig.left_out.split("; ") if text.startswith("where=")]
    assert missing == "where={'decay': 0.001, 'start': 's6'} draws the first of them"
    named = [{"start": name} for name in ("pairs", "polygon")]
    with pytest.raises(figure.NoRecordsError, match="fewer than two runs with a DNC line to compare"):
        figure.dnc_share(replicated(tmp_path / "c", named, [0.1, 0.2]))
