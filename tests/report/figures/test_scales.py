"""Axes that cut nothing, and one colour scale for each kind of quantity of a page."""

import numpy as np
import pytest

from ncbench.report import figure
from ncbench.report.figures import loss as loss_module
from ncbench.report.figures.scales import rank_scale
from ncbench.report.figures.style import MAX_PANELS
from tests.helpers.run_folders import LAST, gram, measurement, record, write_inputs, write_values

LOSSES = {"loss": {0: [4.0, 4.0], 10: [0.5, 1e11]}, "fit": {0: [1.0, 1.0], 10: [1e-9, 1e-9]}}


def holds(ax, *values):
    low, high = ax.get_ylim()
    return low < min(values) and max(values) < high


def test_the_axis_of_the_loss_cuts_no_curve_and_no_line(tmp_path, mutant):
    write_values(tmp_path / "run", LOSSES, {}, lines={"dnc": 1e-11})
    (ax,) = figure.loss(tmp_path / "run").axes
    assert ax.get_yscale() == "log"
    assert holds(ax, 1e-11, 1e-9, 1e11)  # the line, the fit, and a replica far above the others
    former = mutant(loss_module, "low, high = drawn.min(), ", "low, high = drawn.max() / 4, ")
    assert not holds(former.loss(tmp_path / "run").axes[0], 1e-11, 1e-9, 1e11)


def test_a_fit_that_reaches_zero_is_drawn_at_the_floor(tmp_path):
    write_values(tmp_path / "run", {"loss": {0: [4.0], 10: [0.5]}, "fit": {0: [1.0], 10: [0.0]}}, {})
    drawn = figure.loss(tmp_path / "run")
    (fit,) = [line for line in drawn.axes[0].lines if line.get_label() == "fit"]
    assert list(fit.get_ydata()) == [1.0, 1e-16]
    assert holds(drawn.axes[0], 1e-16, 4.0)
    assert drawn.get_supxlabel() == "values below 1e-16 drawn at 1e-16"


def test_a_negative_loss_has_a_linear_axis(tmp_path):
    write_values(tmp_path / "run", {"loss": {0: [4.0], 10: [-3.0]}}, {})
    (ax,) = figure.loss(tmp_path / "run").axes
    assert ax.get_yscale() == "linear"
    assert holds(ax, -3.0, 4.0)


@pytest.fixture
def grid(tmp_path):
    """Four runs over decay and depth; the highest rank of class means is 6, at the start of one of them."""
    for job, (decay, width) in enumerate([(0.1, 10), (0.1, 20), (0.2, 10), (0.2, 20)]):
        ranks = {0: [6.0 if job == 2 else 4.0], 10: [3.0]}
        values = {"head.1.pre.rank": ranks, "head.2.pre.rank": {0: [2.0], 10: [2.0]}, "head.2.weight.rank": [9.0]}
        values["head.1.pre.effective_rank"] = {0: [3.5], 10: [2.5]}
        write_values(tmp_path / str(job), values, {}, swept=[{"weight_decay": decay, "width": width}])
    return tmp_path


def test_ranks_have_one_scale_in_all_figures_of_a_page(grid):
    of_rank = [one.get_clim() for ax in figure.rank(grid).axes for one in ax.collections if hasattr(one, "get_clim")]
    images = [image for ax in figure.heatmap(grid).axes for image in ax.images]
    assert (0.0, 6.0) in of_rank
    assert {image.get_clim() for image in images} == {(0.0, 6.0)}
    assert {image.get_cmap().name for image in images} == {"viridis"}
    weights = figure.heatmap(grid, stage="weight", layers="head.2").axes[0].images[0]
    assert weights.get_clim() == (0.0, 9.0)  # what the page does not draw: nothing beyond the scale


def test_ranks_of_many_settings_count_the_weights(grid):
    for job in range(4, 7):
        swept = [{"weight_decay": 0.3, "width": job}]
        write_values(grid / str(job), {"head.1.pre.rank": [2.0], "head.2.weight.rank": [9.0]}, {}, swept=swept)
    assert rank_scale(grid, MAX_PANELS).vmax == 9.0
    assert rank_scale(grid, 7).vmax == 6.0
    assert figure.rank(grid).axes[0].images[0].get_clim() == (0.0, 9.0)


def test_cosines_have_one_scale_whatever_their_signs_and_need_no_loss(tmp_path):
    steps = {}
    for step, cosine in ((0, -0.25), (LAST, 0.5)):
        steps[step] = measurement(1, step)
        steps[step].values = {("train", "head.1", "pre", "rank"): steps[step].values["train", "head.1", "pre", "rank"]}
        steps[step].grams["head.1", "pre"] = gram(cosine)[None]
    record(tmp_path / "run", [0], steps)
    write_inputs(tmp_path / "run", [{"replica": 0, "seed": 0}], [], {"status": "done", "name": "own", "replicas": 1})
    frames = figure.gram_frames(tmp_path / "run")
    assert [step for step, _ in frames] == [0, LAST]
    images = [drawn.axes[0].images[0] for drawn in (figure.gram(tmp_path / "run"), *(one for _, one in frames))]
    assert {(image.get_cmap().name, *image.get_clim()) for image in images} == {("RdBu_r", -1, 1)}
    np.testing.assert_allclose(images[1].get_array()[0, 1], -0.25)
