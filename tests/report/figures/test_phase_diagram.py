"""Figure of the transition to rank K: cells, lines and crossings are those of the records."""

import math

import numpy as np
import pytest

from ncbench.report import figure
from ncbench.report.figures import phase_diagram
from ncbench.report.statistics import crossing
from tests.helpers.ensemble_folders import grid, line, write_ensemble

NAN = math.nan
LAMBDAS, RATIOS = [1e-4, 1e-3, 1e-2], [0.5, 1.0, 2.0, 4.0]


def drawn(ax, label):
    return [one for one in ax.lines if one.get_label() == label]


def legend(fig):
    return [text.get_text() for one in fig.legends for text in one.get_texts()]


def power_tail(point):
    """1e-2 (noise / sqrt(lam))^4: crosses 1e-2 at noise = sqrt(lam)."""
    return 1e-2 * (point["noise"] / point["weight_decay"] ** 0.5) ** 4


def write_diagram(run, points, tail=power_tail, lines=None, **info):
    tails = [tail(point) for point in points]
    values = {"loss": [0.1] * len(points), "head.1.weight.tail": [t / 3 for t in tails], "head.2.weight.tail": tails}
    return write_ensemble(run, points, values, lines=lines, **info)


def test_phase_diagram_of_a_sheared_grid(tmp_path):
    points = grid(3, weight_decay=LAMBDAS, noise_ratio=RATIOS)
    lines = [
        line(name, "noise", factor * lam**0.5, [i for i, p in enumerate(points) if p["weight_decay"] == lam])
        for name, factor in (("global", 1.5), ("exists", 1.2))
        for lam in reversed(LAMBDAS)
    ]
    run = write_diagram(tmp_path / "run", points, lines=lines)
    ax, _ = figure.phase_diagram(run).axes
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel(), ax.get_ylabel()) == (
        "log",
        "log",
        "weight decay λ",
        "noise σ",
    )
    (mesh,) = ax.collections
    np.testing.assert_allclose(mesh.get_array(), [[1e-2 * q**4] * 3 for q in RATIOS])
    assert mesh.get_clim() == (1e-8, 1)
    corners = mesh.get_coordinates()
    edges = [10**-4.5, 10**-3.5, 10**-2.5, 10**-1.5]
    np.testing.assert_allclose(corners[0, :, 0], edges)
    np.testing.assert_allclose(corners[1, :, 1], 0.5**0.5 * np.sqrt(edges))  # between the ratios 0.5 and 1
    (measured,) = drawn(ax, "measured: $r_K$ = 0.01")
    np.testing.assert_allclose(measured.get_xdata(), LAMBDAS)
    np.testing.assert_allclose(measured.get_ydata(), np.sqrt(LAMBDAS))
    for name, factor in (("exists", 1.2), ("global", 1.5)):
        (theory,) = drawn(ax, name)
        np.testing.assert_allclose(theory.get_xdata(), LAMBDAS)
        np.testing.assert_allclose(theory.get_ydata(), factor * np.sqrt(LAMBDAS))
    assert legend(figure.phase_diagram(run)) == ["measured: $r_K$ = 0.01", "GLOBAL", "EXISTS"]


def test_phase_diagram_takes_the_largest_layer_the_median_and_marks_the_dead(tmp_path, mutant):
    points = grid(3, weight_decay=LAMBDAS, noise=[0.01, 0.1, 1.0])
    dead = {(1e-2, 0.01)}

    def tail(point):
        if (point["weight_decay"], point["noise"]) in dead:
            return NAN
        return [0.3, 0.2, 0.9][point["seed"]] if point["noise"] == 1.0 else 1e-12

    run = write_diagram(tmp_path / "run", points, tail, replica_states={"diverged": [{"replica": 3, "step": 1}]})
    fig = figure.phase_diagram(run)
    (mesh,) = fig.axes[0].collections
    values = np.ma.getdata(mesh.get_array()), np.ma.getmaskarray(mesh.get_array())
    np.testing.assert_allclose(values[0][2], 0.3)
    np.testing.assert_allclose(values[0][1], 1e-8)  # the lowest colour
    assert values[1].tolist() == [[False, False, True], [False] * 3, [False] * 3]
    assert legend(fig)[-1] == "no tail: dead or diverged (4 of 27 replicas)"
    lenient = mutant(phase_diagram, "tails.max(skipna=False)", "tails.min(skipna=False)")
    np.testing.assert_allclose(lenient.phase_diagram(run).axes[0].collections[0].get_array()[2], 0.1)


def test_phase_diagram_of_points_that_are_no_grid_and_of_further_values(tmp_path):
    points = [*grid(1, weight_decay=LAMBDAS, noise_ratio=RATIOS), *grid(1, weight_decay=[1e-3], noise=[0.5])]
    _, known = figure.phase_diagram(write_diagram(tmp_path / "a", points)).axes[0].collections
    np.testing.assert_allclose(np.sort(known.get_array()), np.sort([power_tail(p) for p in points]))
    assert len(known.get_offsets()) == 13
    points = grid(1, weight_decay=LAMBDAS, noise_ratio=RATIOS, init_scale=[0.5, 1.0])
    axes = figure.phase_diagram(write_diagram(tmp_path / "b", points)).axes
    assert [ax.get_title() for ax in axes[:2]] == ["init_scale=0.5", "init_scale=1"]


@pytest.mark.parametrize(
    "points",
    [
        grid(2, weight_decay=LAMBDAS),
        grid(1, weight_decay=[1e-3], noise=[0.1, 0.2]),
        grid(1, weight_decay=LAMBDAS, noise=[0.0]),
    ],
)
def test_phase_diagram_needs_both_to_vary(tmp_path, points):
    run = write_ensemble(tmp_path / "run", points, {"head.1.weight.tail": [0.1] * len(points)})
    with pytest.raises(figure.NoRecordsError, match="weight decay and noise do not both vary"):
        figure.phase_diagram(run)


def test_the_crossing_of_the_figure_is_that_of_the_claim():
    assert phase_diagram.crossing is crossing
