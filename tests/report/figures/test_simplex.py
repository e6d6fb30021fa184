"""The figure of the simplex: coordinates worked by hand, invariances, and which layers and classes are drawn."""

import numpy as np
import pytest
import torch

from ncbench.measure import Measurement
from ncbench.report import figure
from ncbench.report.figures.simplex import VERTICES, coordinates, distance
from tests.helpers.run_folders import record, write_inputs


def of(means):
    return np.asarray(means, dtype=float) @ np.asarray(means, dtype=float).T


@pytest.mark.parametrize("K", [3, 4])
def test_the_vertices_are_a_simplex_etf(K):
    cosines = of(VERTICES[K])
    assert np.allclose(cosines, (K * np.eye(K) - 1) / (K - 1))
    assert np.allclose(VERTICES[K].sum(0), 0)


@pytest.mark.parametrize("K", [3, 4])
def test_a_simplex_lies_on_its_vertices_wherever_and_however_large_it_is(K):
    generator = np.random.default_rng(0)
    turn, _ = np.linalg.qr(generator.normal(size=(9, 9)))
    means = 3 * np.pad(VERTICES[K], ((0, 0), (0, 10 - K))) @ turn + generator.normal(size=9)
    X = coordinates(of(means))
    assert np.allclose(X, VERTICES[K], atol=1e-6)
    assert distance(X) == pytest.approx(0, abs=1e-6)


def test_three_means_on_a_line_by_hand():
    # x = (-1, 0, 1) sqrt(3/2): ||X^T S||_* = sqrt(3/2) |S_3 - S_1| = sqrt(9/2), d^2 = 2 - (2/3) sqrt(9/2).
    X = coordinates(of([[-1.0, 5.0], [0.0, 5.0], [1.0, 5.0]]))
    assert distance(X) == pytest.approx((2 - 2**0.5) ** 0.5, rel=1e-6)
    lengths = np.linalg.norm(X - X[1], axis=1)  # as far apart as they are, in units of their root mean square norm
    assert lengths == pytest.approx([1.5**0.5, 0, 1.5**0.5], abs=1e-6)


def test_the_geometry_of_any_means_is_kept():
    means = np.random.default_rng(1).normal(size=(4, 6))
    X = coordinates(of(means))
    centred = means - means.mean(0)
    scale = np.sqrt((centred**2).sum() / 4)
    assert np.allclose(of(X), of(centred) / scale**2)
    nearer = min(np.linalg.norm(X @ turn - VERTICES[4]) for turn in turns())
    assert np.linalg.norm(X - VERTICES[4]) <= nearer + 1e-12


def turns():
    """Orthogonal matrices of all kinds, none of which may bring the points nearer."""
    generator = np.random.default_rng(2)
    return [np.linalg.qr(generator.normal(size=(3, 3)))[0] for _ in range(200)]


def test_means_that_coincide_have_no_place():
    assert np.isnan(coordinates(np.full((3, 3), 2.0))).all()
    assert np.isnan(coordinates(np.full((3, 3), np.nan))).all()


def written(run, grams_of):
    """A run with these Gram matrices by step, layer and stage."""
    measurements = {}
    for step, grams in grams_of.items():
        measurements[step] = Measurement({("train", "", "", "loss"): torch.zeros(1)})
        measurements[step].grams = {key: torch.as_tensor(gram)[None] for key, gram in grams.items()}
    record(run, [0], measurements)
    write_inputs(run, [{"replica": 0, "seed": 0}], [], {"status": "done", "name": "own", "replicas": 1})
    return run


def points(ax, hollow):
    found = [
        line for line in ax.lines if len(line.get_xdata()) == 1 and (line.get_markerfacecolor() == "none") == hollow
    ]
    return np.array([line.get_xydata()[0] for line in found])


def test_every_layer_at_the_first_and_the_last_step(tmp_path):
    line = of([[-1.0], [0.0], [1.0]])
    first = {("body", "post"): line, ("fc", "pre"): line}
    last = {("body", "pre"): line, ("body", "post"): np.eye(3) + 2, ("fc", "pre"): line}
    plot = figure.simplex(written(tmp_path / "run", {0: first, 10: last}))
    body, fc = plot.axes
    assert body.get_title().startswith("body\ndistance")
    assert float(body.get_title().split()[-1]) < 1e-6
    assert np.allclose(points(body, hollow=False), VERTICES[3], atol=1e-6)  # behind the activation
    assert np.allclose(points(body, hollow=True), coordinates(line))
    assert fc.get_title() == "fc\ndistance 0.77"
    assert len(figure.simplex(tmp_path / "run", layers=["fc"]).axes) == 1


@pytest.mark.parametrize("settings", [1, 2])
def test_no_title_is_cut(settings, tmp_path):
    line = of([[-1.0], [0.0], [1.0]])
    for number in range(settings):
        written(tmp_path / f"run{number}", {0: {("body", "post"): line}, 10: {("body", "post"): np.eye(3)}})
    plot = figure.simplex(tmp_path)
    plot.draw_without_rendering()
    assert len(plot.axes) == settings
    assert max(ax.title.get_window_extent().y1 for ax in plot.axes) <= plot.bbox.y1


def test_four_of_ten_classes_and_what_is_refused(tmp_path):
    run = written(tmp_path / "run", {0: {("fc", "pre"): np.eye(10)}})
    with pytest.raises(figure.NoRecordsError, match=r"10 classes fit into no picture: classes=\[0, 1, 2\] draws three"):
        figure.simplex(run)
    (ax,) = figure.simplex(run, classes=[0, 3, 5, 9]).axes
    assert ax.name == "3d"
    assert float(ax.get_title().split()[-1]) < 1e-6  # of an orthogonal frame any four are a simplex once centred
    with pytest.raises(ValueError, match=r"classes=\[0, 10, 1\] must be three or four of the classes 0 to 9"):
        figure.simplex(run, classes=[0, 10, 1])
    with pytest.raises(ValueError, match="layers=gc: recorded are fc"):
        figure.simplex(run, layers=["gc"], classes=[0, 1, 2])
    same = written(tmp_path / "same", {0: {("fc", "pre"): np.ones((3, 3))}})
    with pytest.raises(figure.UndefinedError, match="the class means of every layer coincide"):
        figure.simplex(same)


@pytest.mark.parametrize(("sizes", "drawn"), [((3, 4), 4), ((2, 3), 3), ((3, 3, 4), 3), ((3, 10), 3), ((4, 12), 4)])
def test_of_settings_with_other_numbers_of_classes_one_number_is_drawn(sizes, drawn, tmp_path):
    for number, size in enumerate(sizes):
        written(tmp_path / f"run{number}", {0: {("fc", "pre"): np.eye(size)}})
    plot = figure.simplex(tmp_path)
    assert len(plot.axes) == sizes.count(drawn)
    assert all(len(points(ax, hollow=False)) == drawn for ax in plot.axes if drawn == 3)
    assert {ax.name for ax in plot.axes} == ({"3d"} if drawn == 4 else {"rectilinear"})
    left = len(sizes) - sizes.count(drawn)
    assert plot.left_out.startswith(f"{left} more setting is not drawn here")
    three = figure.simplex(tmp_path, classes=[0, 1, 2])  # of every setting that has them
    assert len(three.axes) == sum(size >= 3 for size in sizes)


def test_a_layer_that_one_setting_has_not_measured_is_empty_there(tmp_path):
    written(tmp_path / "a", {0: {("head.1", "pre"): np.eye(3)}})
    written(tmp_path / "b", {0: {("head.2", "pre"): np.eye(3)}})
    axes = figure.simplex(tmp_path).axes
    assert [bool(ax.lines) for ax in axes] == [True, False, False, True]
