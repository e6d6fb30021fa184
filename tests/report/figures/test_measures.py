"""A measure of a run's own is seen in the report: figure, label, unit, scale, table per layer, table of measures."""

import re

import numpy as np
import pytest
import yaml

from ncbench.config.measuring import SCALES as ALLOWED_SCALES
from ncbench.records.load import load_final
from ncbench.report import figure
from ncbench.report.__main__ import make_report
from ncbench.report.measures import MEASURES, SCALES, known_measures, scale_of
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs
from tests.helpers.run_folders import write_run, write_values

STEPS = (1, 10, 100)


def test_a_configuration_may_ask_for_the_scales_that_the_report_has():
    assert set(ALLOWED_SCALES) == set(SCALES)


def with_measure(run, **described):
    """A run of three replicas with the measure `margin`: at step s replica r has (1 + r) / s before head.1, 7 after."""
    values = {
        "loss": {s: [0.1] * 3 for s in STEPS},
        "head.1.pre.margin": {s: [(1 + r) / s for r in range(3)] for s in STEPS},
        "head.1.post.margin": {s: [7.0] * 3 for s in STEPS},
        "head.1.pre.rank": {s: [4.0] * 3 for s in STEPS},
    }
    write_values(run, values, [])
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["measure"] = {"moments": {"margin": {"_target_": "pkg.margin", **described}}, "matrices": {}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


def text_of(page):
    return re.sub(r"<svg.*?</svg>", "", page.read_text(), flags=re.DOTALL)


def test_medians_per_layer_over_the_steps(tmp_path):
    fig = figure.measures(with_measure(tmp_path / "run", label="margin of $x", unit="nats", scale="log"), ["margin"])
    (ax,) = fig.axes
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["head.1.pre"].get_xdata(), STEPS)
    np.testing.assert_allclose(lines["head.1.pre"].get_ydata(), [2 / s for s in STEPS])
    np.testing.assert_allclose(lines["head.1.post"].get_ydata(), 7)
    assert (lines["head.1.pre"].get_linestyle(), lines["head.1.post"].get_linestyle()) == ("-", "--")
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", r"margin of \$x [nats]")
    assert (fig.get_supxlabel()) == "median over replicas, band: quartiles"


def test_without_a_description_the_name_is_the_label_and_the_values_decide_the_scale(tmp_path):
    (ax,) = figure.measures(with_measure(tmp_path / "run"), ["margin"]).axes
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "margin")  # from 7 to 0.02
    (ax,) = figure.measures(with_measure(tmp_path / "linear", scale="linear"), ["margin"]).axes
    assert ax.get_yscale() == "linear"
    (ax,) = figure.measures(with_measure(tmp_path / "wrong", scale=["log"], label=3), ["margin"]).axes
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "3")


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 5.0], "linear"),
        ([1e-9, 1.0], "log"),
        ([0.0, 1e-9, 1.0], "symlog"),
        ([-1.0, 100.0], "symlog"),
        ([], "linear"),
        ([0.0, 0.0], "linear"),
        ([np.nan, 1e-3, 1.0], "log"),
    ],
)
def test_the_scale_that_values_ask_for(values, scale):
    assert scale_of(values) == scale


def test_every_measure_is_drawn_by_default_and_values_of_the_network_too(tmp_path):
    run = write_run(tmp_path / "run", [0, 1])
    axes = [ax for ax in figure.measures(run).axes if ax.axison]
    recorded = known_measures(run, load_final(run)["measure"])
    assert [ax.get_ylabel() for ax in axes] == [info.axis_label for info in recorded.values()]
    accuracy = next(ax for ax in axes if ax.get_ylabel() == "accuracy")
    assert {line.get_label(): line.get_linestyle() for line in accuracy.lines} == {"train": "-", "test": ":"}


def test_what_cannot_be_drawn_is_said(tmp_path):
    run = with_measure(tmp_path / "run")
    with pytest.raises(figure.NoRecordsError, match="no nothing recorded"):
        figure.measures(run, ["nothing"])
    write_values(tmp_path / "nan", {"head.1.pre.margin": [np.nan, np.inf]}, [])
    with pytest.raises(figure.UndefinedError, match="margin is recorded, but none of its values is finite"):
        figure.measures(tmp_path / "nan")


def test_a_page_shows_it_in_a_picture_in_the_table_per_layer_and_in_the_list(tmp_path):
    run = with_measure(tmp_path / "run", label="margin <of>", unit="nats", scale="log")
    page, _, _ = make_report(run, tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "measures.svg").is_file()
    text = text_of(page)
    assert '<section id="measures-section">' in text
    assert '<th scope="col">margin &lt;of&gt; [nats]</th>' in text
    assert '<tr><th scope="row">head.1</th><td>pre</td><td>4</td><td>0.02 [0.015, 0.025]</td></tr>' in text
    listed = '<th scope="row">margin</th><td>margin &lt;of&gt;</td><td>nats</td><td>log</td><td>pkg.margin</td>'
    assert listed in text


@pytest.mark.usefixtures("unrendered")
def test_the_figure_leaves_out_what_other_figures_of_the_page_draw(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("ncbench.report.pages.catalogue.measures", lambda dir, names: drawn.extend(names) or 1 / 0)
    page, _, _ = make_report(write_run(tmp_path / "run", [0]), tmp_path / "out")
    assert set(drawn) == {"dnc2", "stable_rank", "tail", "norm"}  # accuracy is among the learning curves
    assert "Not drawn: drawing failed with ZeroDivisionError: division by zero." in text_of(page)


@pytest.mark.usefixtures("unrendered")
def test_two_lines_of_yaml_from_the_function_to_the_picture(tmp_path):
    """The entry in the configuration is all that a new measure needs; its reading is no argument of the function."""
    target = "{_target_: ncbench.core.cdnv, label: CDNV of mine, scale: log}"
    overrides = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=4"]
    overrides += [f"+measure.moments.mine={target}", "trainer.progress=false"]
    (composed,) = compose_jobs(overrides, multirun=False)
    assert run_execute.execute(composed.config, tmp_path / "run", command="test", overrides=overrides) == 0
    axes = {ax.get_ylabel(): ax for ax in figure.measures(tmp_path / "run", ["mine", "dnc1"]).axes if ax.axison}
    assert set(axes) == {"CDNV of mine", MEASURES["dnc1"].axis_label}
    assert axes["CDNV of mine"].get_yscale() == "log"
    recorded = load_final(tmp_path / "run", measures="mine")
    assert np.isfinite(recorded["value"]).all()
    page, _, _ = make_report(tmp_path / "run", tmp_path / "out")
    assert '<th scope="col">CDNV of mine</th>' in text_of(page)
