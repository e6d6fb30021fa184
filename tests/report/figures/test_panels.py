"""More axes than a figure can show become panels: no two settings share a curve, a cell or a colour of one panel."""

import matplotlib.colors
import numpy as np
import pytest
import yaml

from ncbench.records.same_network import Network
from ncbench.records.schema import CONFIG
from ncbench.records.settings import Setting
from ncbench.report import figure, layout
from ncbench.report.layout import panels_over
from tests.helpers.run_folders import write_run
from tests.helpers.seed_sweeps import LOSSES, RANKS, configuration, write_seed, write_sweep

WIDTHS, DECAYS = (16, 32, 64, 128), (1e-3, 1e-2)


def setting(number, **values):
    return Setting((Network(str(number), 0, 0),), values, str(values))


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Eight settings of two seeds each: four widths and two decays; the loss of seed 1 is twice that of seed 0."""
    base = tmp_path_factory.mktemp("eight")
    for width in WIDTHS:
        for decay in DECAYS:
            for seed in (0, 1):
                swept = {"width": width, "weight_decay": decay}
                run = write_run(base / f"{width}-{decay}-{seed}", [seed], swept=swept, scale=width * (1 + seed))
                config = configuration(seed, **{"model.width": width, "objective.weight_decay": decay})
                (run / CONFIG).write_text(yaml.safe_dump(config))
    return base


def test_eight_settings_have_eight_curves_in_two_panels_and_four_colours_each(eight):
    fig = figure.loss(eight)
    assert [ax.get_title() for ax in fig.axes] == ["weight_decay=0.001", "weight_decay=0.01"]
    for ax in fig.axes:
        assert [line.get_label() for line in ax.lines] == [f"width={width}" for width in WIDTHS]
        assert len({matplotlib.colors.to_hex(line.get_color()) for line in ax.lines}) == 4
        assert len(ax.collections) == 4  # a band for each
        # Seeds 0 and 1 end at 0.1 and 0.2 times the width: median 0.15, quartiles 0.125 and 0.175.
        assert [line.get_ydata()[-1] for line in ax.lines] == pytest.approx([0.15 * width for width in WIDTHS])
        band = ax.collections[0].get_paths()[0].vertices
        assert sorted(set(band[band[:, 0] == 1000][:, 1].round(9))) == pytest.approx([0.125 * 16, 0.175 * 16])
    assert fig.left_out == ""


def test_a_heat_map_has_a_panel_for_each_further_value_and_names_on_its_axes(tmp_path):
    for place, (width, act, decay) in enumerate((w, a, d) for w in (32, 64) for a in ("relu", "tanh") for d in DECAYS):
        for seed in range(3):
            swept = {"model.width": width, "model.activation": act, "objective.weight_decay": decay}
            write_seed(tmp_path / f"{place}{seed}", seed, 10.0**place * LOSSES[seed], swept, RANKS[seed])
    fig = figure.heatmap(tmp_path, "loss", x="activation", y="width")
    low, high, _ = fig.axes
    assert [low.get_title(), high.get_title()] == ["weight_decay=0.001", "weight_decay=0.01"]
    assert [text.get_text() for text in low.get_xticklabels()] == ["relu", "tanh"]
    assert [text.get_text() for text in low.get_yticklabels()] == ["32", "64"]
    # In the order of the loops: width 32 has places 0 to 3, relu 0 and 1 of them, decay 0.001 the first of these.
    np.testing.assert_allclose(np.asarray(low.images[0].get_array()), [[2e0, 2e2], [2e4, 2e6]])
    np.testing.assert_allclose(np.asarray(high.images[0].get_array()), [[2e1, 2e3], [2e5, 2e7]])
    assert low.images[0].norm is high.images[0].norm
    assert low.texts[0].get_text() == "2\n[1.5, 3]"
    assert fig.get_supxlabel() == "replicas in every median: 3"
    assert figure.heatmap(tmp_path, "loss").axes[0].get_xlabel() == "width"  # numbers before names


def test_the_rank_over_two_numbers_keeps_the_widths_apart(tmp_path, mutant):
    sweep = write_sweep(tmp_path)
    ax = figure.heatmap(sweep, layers="intermediate").axes[0]
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), [[5.0, 5.0]] * 2)  # of ranks 4, 5, 9
    points = [(w, d, a) for w in (8, 16, 32) for d in (2, 3) for a in "xy"]
    settings = [setting(i, width=w, depth=d, act=a) for i, (w, d, a) in enumerate(points)]
    found = panels_over(settings, range(12), "here")
    assert (found.x, found.left_out, len(found.panels)) == ("width", [], 1)
    assert found.curves[0].codes == {8.0: 0, 16.0: 4, 32.0: 8}
    forgotten = mutant(layout, "if size > 1 and not any(alike)", "if size > 2 and not any(alike)")
    drawn = [
        code for curve in forgotten.panels_over(settings, range(12), "here").curves for code in curve.codes.values()
    ]
    assert len(drawn) == 3


def test_more_curves_than_colours_are_divided_among_panels_and_the_rest_is_named():
    points = [(w, d, a) for w in (8, 16, 32) for d in range(2, 6) for a in "stuvwxy"]
    settings = [setting(i, width=w, depth=d, act=a) for i, (w, d, a) in enumerate(points)]
    found = panels_over(settings, range(len(points)), "here", x="width")
    assert [panel.values for panel in found.panels] == [{"act": a} for a in "stuvwx"]
    assert [[curve.values for curve in panel.curves] for panel in found.panels] == [
        [{"depth": d} for d in range(2, 6)]
    ] * 6
    assert all(len({curve.place for curve in panel.curves}) == 4 for panel in found.panels)
    assert [settings[code].values["act"] for code in found.left_out] == ["y"] * 12
    drawn = [code for curve in found.curves for code in curve.codes.values()]
    assert len(drawn) == len(set(drawn)) == 72


def test_a_setting_without_a_place_on_the_axis_is_left_out_by_name():
    settings = [setting(0, width=8), setting(1, width=16), setting(2, width=None)]
    assert panels_over(settings, range(3), "here").left_out == [2]


def test_figures_that_draw_some_settings_say_how_to_draw_the_others(eight):
    fig = figure.collapse(eight)
    values = {"width": 128, "weight_decay": 0.001}
    assert fig.left_out == f"2 more settings are not drawn here; where={values} draws the first of them"
    assert "2 more not drawn" in fig.get_supxlabel()
    chosen = figure.collapse(eight, where=values)
    assert (chosen.left_out, len(chosen.axes)) == ("", 3)
    assert all(len(ax.collections) == len(ax.lines) for ax in chosen.axes)  # every median has a band
