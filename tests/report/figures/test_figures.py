"""The figures that every run has: what is drawn is what was recorded."""

import json

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from ncbench.records.load import load_final, load_measures
from ncbench.records.settings import find_settings, with_setting
from ncbench.report import figure
from ncbench.report.figures import style
from ncbench.report.figures.gram import cosines
from ncbench.report.measures import MEASURES
from ncbench.report.selectors import intermediate_rank, last_dnc1
from ncbench.report.settings import quartiles
from tests.helpers.run_folders import LAYERS, STEPS, K, loss_of, write_records, write_run


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"))


def line(ax, label):
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found


def test_loss_draws_recorded_medians_band_extremes_and_theory(records):
    fig = figure.loss(records / "eight")
    assert isinstance(fig, Figure)
    (ax,) = fig.axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("gradient step", "loss", "dufm_k4")
    assert (ax.get_xscale(), ax.get_yscale()) == ("symlog", "log")
    np.testing.assert_array_equal(line(ax, "loss, median").get_xdata(), STEPS)
    by_step = np.array([[loss_of(replica, step) for replica in range(8)] for step in STEPS])
    np.testing.assert_allclose(line(ax, "loss, median").get_ydata(), np.median(by_step, axis=1))
    np.testing.assert_allclose(line(ax, "fit").get_ydata(), np.median(by_step, axis=1) / 4)
    np.testing.assert_allclose(line(ax, "best replica").get_ydata(), by_step[:, 0])
    np.testing.assert_allclose(line(ax, "worst replica").get_ydata(), by_step[:, 7])
    band = ax.collections[0].get_paths()[0].vertices
    assert set(np.round(band[band[:, 0] == 1000][:, 1], 10)) == {0.1175, 0.1525}
    assert line(ax, "DNC 0.12").get_ydata() == [0.12, 0.12]
    below = {text.get_text() for text in fig.legends[0].get_texts()}
    assert below == {"DNC 0.12:  DNC <formula>", "SRG 0.09:  SRG formula"}
    assert line(ax, "SRG 0.09").get_ydata() == [0.09, 0.09]
    assert not [one for one in ax.lines if "NTZ" in str(one.get_label())]
    low, high = ax.get_ylim()
    assert low < 0.03 < 0.57 < high


def test_loss_of_one_replica_has_no_band(records):
    (ax,) = figure.loss(records / "one").axes
    assert {str(one.get_label()) for one in ax.lines} == {"regulariser", "fit", "loss", "DNC 0.12", "SRG 0.09"}
    assert not ax.collections


def test_loss_of_a_sweep_has_a_panel_for_each_run(records):
    axes = figure.loss(records / "sweep").axes
    assert [ax.get_title() for ax in axes] == [
        "weight_decay=0.001, depth=3",
        "weight_decay=0.001, depth=4",
        "weight_decay=0.05, depth=3",
        "weight_decay=0.05, depth=4",
    ]
    for job, ax in enumerate(axes):
        assert [
            one.get_ydata()[0] for one in ax.lines if str(one.get_label()).startswith(("DNC", "SRG"))
        ] == pytest.approx([0.12 * (1 + job), 0.09 * (1 + job)])


def test_loss_follows_references_that_hold_for_some_replicas(tmp_path):
    run = write_run(tmp_path / "run", [0, 1])
    (run / "replicas.json").write_text(json.dumps([{"replica": i, "seed": 0, "depth": 3 + i} for i in (0, 1)]))
    references = [{"name": "dnc", "value": 0.1 + i, "formula": "", "arguments": {}, "replicas": [i]} for i in (0, 1)]
    (run / "references.json").write_text(json.dumps(references))
    first, second = figure.loss(run).axes
    assert line(first, "DNC 0.1").get_ydata() == [0.1, 0.1]
    assert line(second, "DNC 1.1").get_ydata() == [1.1, 1.1]


def test_many_runs_are_overlaid_and_coloured_by_the_swept_value(tmp_path):
    for job in range(7):
        write_run(tmp_path / str(job), [0], swept={"weight_decay": 10.0**-job}, finished=False)
    ax, bar = figure.loss(tmp_path).axes
    assert len(ax.lines) == 7
    assert bar.get_ylabel() == "weight_decay"
    heat, _ = figure.rank(tmp_path).axes
    assert [tick.get_text() for tick in heat.get_yticklabels()][:2] == ["weight_decay=1e-06", "weight_decay=1e-05"]
    np.testing.assert_array_equal(heat.images[0].get_array()[0], [4, 4, 3, 3, 2, 2, 3, 3, 3])
    assert "1 more not drawn" in figure.collapse(tmp_path).get_supxlabel()


def test_collapse_draws_every_layer_and_floors_exact_zeros(records):
    fig = figure.collapse(records / "eight")
    assert [ax.get_ylabel() for ax in fig.axes] == [MEASURES["dnc1"].axis_label, "TCV / total variance", "TCV"]
    assert {one.get_label() for one in fig.axes[0].lines} == {f"{layer}.{stage}" for layer, stage in LAYERS}
    frame = load_measures(records / "eight", measures=["dnc1"], layers=["head.1"])
    frame = frame[frame["stage"] == "pre"]
    expected = frame.groupby("step")["value"].median()
    (drawn,) = [one for one in fig.axes[0].lines if one.get_label() == "head.1.pre"]
    np.testing.assert_allclose(drawn.get_ydata(), expected.to_numpy())
    assert drawn.get_linestyle() == "-"
    (zero,) = [one for one in fig.axes[0].lines if one.get_label() == "head.3.pre"]
    assert zero.get_ydata()[-1] == 1e-16
    assert "values below 1e-16 (zeros too) drawn at 1e-16" in fig.get_supxlabel()
    assert all(ax.get_yscale() == "log" and ax.get_xlabel() == "gradient step" for ax in fig.axes)


def test_spectra_are_relative_medians_with_range(records):
    fig = figure.spectra(records / "eight")
    assert [ax.get_title() for ax in fig.axes] == [
        "class means, pre-activation",
        "class means, post-activation",
        "weights",
    ]
    weights = fig.axes[2]
    (dots,) = [one for one in weights.lines if one.get_label() == "head.2"]
    np.testing.assert_allclose(dots.get_ydata(), [1.0, 1.035 / 2, 0.5, 5e-6])
    np.testing.assert_allclose(np.round(dots.get_xdata()), [1, 2, 3, 4])
    ranges, boxes = (weights.collections[place].get_segments()[1][:, 1] for place in (2, 3))
    np.testing.assert_allclose(ranges, [0.5, 0.535])
    np.testing.assert_allclose(boxes, [(1 + 1.75 / 100) / 2, (1 + 5.25 / 100) / 2])
    assert fig.axes[0].get_ylabel() == r"$\sigma_i / \sigma_1$"
    assert figure.spectra(records / "one", log=True).axes[0].get_yscale() == "log"


def test_rank_over_time_and_at_the_end(records):
    numerical, effective, end, _ = figure.rank(records / "eight").axes
    names = [tick.get_text() for tick in numerical.get_yticklabels()]
    assert names == [f"{layer} {stage}" for layer, stage in LAYERS]
    values = np.asarray(numerical.collections[0].get_array())
    np.testing.assert_array_equal(values[:, -1], [4, 4, 3, 3, 2, 2])
    assert float(np.max(effective.collections[0].get_array())) == 3.5
    (weights,) = [one for one in end.lines if one.get_label() == "weight"]
    np.testing.assert_array_equal(weights.get_ydata(), [3, 3, 3])


def test_gram_shows_the_best_replica_on_one_scale(records):
    fig = figure.gram(records / "eight")
    images = {(ax.get_title(), i): ax.images[0] for i, ax in enumerate(fig.axes) if ax.images}
    assert len(images) == len(LAYERS)
    assert {image.get_clim() for image in images.values()} == {(-1, 1)}
    (features,) = [image for (title, _), image in images.items() if title == "features"]
    np.testing.assert_allclose(features.get_array(), 0.5 * np.eye(K) + 0.5)
    assert "replica 0, step 1000" in fig.axes[0].get_ylabel().replace("\n", " ")


def test_cosines_of_a_zero_class_mean_are_undefined():
    gram = np.array([[4.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(cosines(gram), [[1.0, np.nan], [np.nan, np.nan]])


def test_summary_of_a_sweep(records):
    fig = figure.summary(records / "sweep")
    loss, ranks, dnc1 = fig.axes
    assert [ax.get_xlabel() for ax in fig.axes] == ["weight_decay"] * 3
    assert loss.get_ylabel() == "final loss"
    medians = {tuple(one.get_xdata()): one.get_ydata() for one in loss.lines if len(one.get_xdata()) == 2}
    assert len(loss.containers) == 2
    assert list(medians) == [(1e-3, 5e-2)]
    first, second = (container.lines[0].get_ydata() for container in loss.containers)
    np.testing.assert_allclose(first, [0.11, 0.33])
    np.testing.assert_allclose(second, [0.22, 0.44])
    theory = sorted(one.get_ydata()[0] for one in loss.lines if one.get_label() == "reference dnc")
    assert theory == pytest.approx([0.12, 0.24, 0.36, 0.48])
    np.testing.assert_allclose(ranks.containers[0].lines[0].get_ydata(), 3.5)  # head.1 has 4, head.2 has 3
    assert dnc1.get_yscale() == "log"
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ["depth=3", "depth=4"]
    below = [text.get_text() for text in fig.legends[1].get_texts()]
    assert below == ["DNC:  DNC <formula>", "SRG:  SRG formula"]


def test_final_quantities_of_the_headline(records):
    settings = find_settings(records / "one")
    frame = with_setting(load_final(records / "one"), settings)
    frame = frame[frame["split"] == "train"]
    assert intermediate_rank(frame)["value"].tolist() == [3.5]
    assert last_dnc1(frame)["layer"].tolist() == ["head.2"]
    assert quartiles(last_dnc1(frame), ["setting"])["median"].tolist() == pytest.approx([1e-4 / 1001])


@pytest.mark.parametrize("name", ["loss", "collapse", "spectra", "rank", "gram", "measures", "summary"])
def test_nothing_recorded_says_so(tmp_path, name):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(figure.NoRecordsError):
        getattr(figure, name)(tmp_path)


def test_an_unfinished_run_can_be_drawn(records):
    for draw in (figure.loss, figure.collapse, figure.spectra, figure.rank):
        assert draw(records / "unfinished").axes


def test_a_diverged_replica_is_the_worst_and_breaks_nothing(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = write_run(tmp_path / "run", [0, 1, 2])
    for part in sorted((run / "measures").iterdir()):
        rows = pq.read_table(part)
        table = rows.to_pandas()
        table.loc[(table["replica"] == 0) & (table["step"] > 1), "value"] = np.nan
        table.loc[(table["replica"] == 1) & (table["measure"] == "dnc1") & (table["step"] > 1), "value"] = np.inf
        place = rows.column_names.index("value")
        pq.write_table(rows.set_column(place, "value", pa.array(table["value"].to_numpy())), part)
    (ax,) = figure.loss(run).axes
    assert np.isnan(line(ax, "worst replica").get_ydata()[-1])
    np.testing.assert_allclose(line(ax, "loss, median").get_ydata()[-1], 0.115)
    for draw in (figure.collapse, figure.rank, figure.spectra):
        style.to_png(draw(run))
    assert "replica 1" in figure.gram(run).axes[0].get_ylabel().replace("\n", " ")


def test_thinning_keeps_ends_and_extremes():
    steps = np.arange(100_000.0)
    values = np.sin(steps / 50)
    values[77_777], values[3] = 9.0, -9.0
    kept = style.thin(steps, values)
    assert len(kept) < 2_000
    assert {0, 3, 77_777, 99_999} <= set(kept.tolist())
    assert np.all(np.diff(kept) > 0)


def test_a_notebook_shows_the_figure_and_its_settings_stay(records):
    before = dict(mpl.rcParams)
    fig = figure.loss(records / "one")
    assert fig._repr_png_().startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before


def test_dollar_signs_in_names_are_no_mathematics(tmp_path):
    run = write_run(tmp_path / "run", [0], name="cost $x_{ in $")
    assert style.to_svg(figure.loss(run)).startswith("<?xml")
