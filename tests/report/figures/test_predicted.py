"""What figures show of the theory, Gram matrices over time, heat maps, and the files they become."""

import json

import numpy as np
import pytest
import torch

from ncbench.measure import Measurement
from ncbench.records.settings import find_settings
from ncbench.records.writer import RecordWriter
from ncbench.report import figure, load_grams, load_measures, load_references
from ncbench.report.__main__ import make_report
from ncbench.report.figures import gram as gram_figures
from ncbench.report.figures import style
from ncbench.report.figures.labels import as_mathematics, line_label
from ncbench.report.pages import catalogue
from ncbench.report.pages.headline import headline
from tests.helpers.run_folders import STEPS, K, measurement, write_records, write_run

SRG = "min_y (L/2) (C Λ y)^(1/L) + (1/2K) [1/(1+C(r-2,2)² y)],  C = (√2 + √((r-1)(r-2)))² r^(L-3) K²/2"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture
def predicted(tmp_path):
    run = write_run(tmp_path / "run", list(range(8)))
    references = json.loads((run / "references.json").read_text())
    values = {"dnc": [1.0] * K, "srg": [1.0, 0.5, 0.5, 0.0]}
    for name, spectrum in values.items():
        stages = {"head.1.pre": spectrum, "head.2.weight": spectrum}
        entry = {"name": name, "measure": "spectra", "value": None, "values": stages, "formula": "", "arguments": {}}
        references.append(entry | {"replicas": None, "why": None})
    references.append({"name": "ntz", "measure": "spectra", "value": None, "values": None, "why": "no such graph"})
    (run / "references.json").write_text(json.dumps(references))
    return run


def drawn(ax, label):
    return [one for one in ax.lines if one.get_label() == label]


def test_predicted_spectra_stand_on_the_measured_dots(predicted):
    fig = figure.spectra(predicted)
    pre, post, weights = fig.axes
    for ax, layer in ((pre, "head.1"), (weights, "head.2")):
        (srg,) = drawn(ax, "SRG (predicted)")
        (dnc,) = drawn(ax, "DNC (predicted)")
        (dots,) = drawn(ax, layer)
        assert srg.get_ydata().tolist() == [1.0, 0.5, 0.5, 0.0]
        assert dnc.get_ydata().tolist() == [1.0] * K
        np.testing.assert_allclose(srg.get_xdata(), dots.get_xdata()[:K])
        assert (srg.get_marker(), dnc.get_marker(), srg.get_markerfacecolor()) == ("D", "s", "none")
    assert not drawn(post, "SRG (predicted)")
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels[-3:] == ["DNC (predicted)", "SRG (predicted)", "replica with the lowest loss"]
    best = [one.get_ydata().tolist() for one in drawn(weights, "replica with the lowest loss")]
    assert best == [pytest.approx([1.0, 0.5, 0.5, 5e-6])] * 3  # replica 0
    (srg,) = drawn(figure.spectra(predicted, log=True).axes[0], "SRG (predicted)")
    assert srg.get_ydata().tolist() == [1.0, 0.5, 0.5]


def test_predicted_spectra_are_no_lines_of_the_loss(predicted, tmp_path):
    references = load_references(predicted)
    spectra = references[references["measure"] == "spectra"]
    assert spectra["value"].isna().all()
    assert [values and values["head.1.pre"] for values in spectra["values"]] == [[1.0] * 4, [1.0, 0.5, 0.5, 0.0], None]
    assert headline(predicted).header.count("SRG") == 1
    assert len([one for one in figure.loss(predicted).axes[0].lines if "SRG" in str(one.get_label())]) == 1
    text = make_report(predicted, tmp_path / "out")[0].read_text()
    assert "no such graph" not in text


def test_a_formula_is_mathematics_where_it_is_simple():
    assert as_mathematics("λ_H + r^(L-3)") == r"λ$\mathregular{_{H}}$ + r$\mathregular{^{L-3}}$"
    assert as_mathematics("α^(2/(L+1)), e^-b") == r"α$\mathregular{^{2/(L+1)}}$, e$\mathregular{^{-b}}$"
    assert as_mathematics("x_{1} $5") == r"x_{1} \$5"
    assert line_label("dnc", [0.5, 0.5], "", 80) == "DNC 0.5"
    assert line_label("dnc", [0.5, 0.25], "A", 80) == "DNC:  A"
    assert line_label("srg", [0.5], SRG, 60).count("\n") == 1


def test_formulas_stand_below_the_plot_and_inside_the_figure(tmp_path):
    run = write_run(tmp_path / "run", [0, 1])
    lines = [{"name": name, "value": 0.1, "formula": SRG, "arguments": {}} for name in ("srg", "dnc")]
    (run / "references.json").write_text(json.dumps(lines))
    fig = figure.loss(run)
    style.to_png(fig)
    theory, key = (legend.get_window_extent() for legend in fig.legends)
    axes = fig.axes[0].get_tightbbox()
    assert theory.y1 <= axes.y0 + 1
    assert axes.y1 <= key.y0 + 1
    assert theory.x0 >= 0
    assert theory.x1 <= fig.bbox.x1
    assert theory.y0 >= 0


def test_gram_frames_are_steps_in_order_of_one_size_and_scale(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", [0, 1, 2])
    for step, sign in ((10, -1.0), (0, 1.0)):
        matrices = measurement(1, step, grams=True).grams
        moved = {place: sign * gram + 6 * torch.eye(K) for place, gram in matrices.items()}
        RecordWriter(run, [0]).write(step, step / 10, Measurement(grams=moved))
    frames = figure.gram_frames(run)
    assert [step for step, _ in frames] == [0, 10, STEPS[-1]]
    svgs = [style.to_svg(plot, glyphs=False) for _, plot in frames]
    assert max(map(len, svgs)) <= 25_000
    images = [[ax.images[0] for ax in plot.axes if ax.images] for _, plot in frames]
    assert len({tuple(image.get_clim() for image in one) for one in images}) == 1
    for _, plot in frames:
        places = [ax.get_position().bounds for ax in plot.axes]
        assert places == [pytest.approx(one) for one in (ax.get_position().bounds for ax in frames[0][1].axes)]
        assert tuple(plot.get_size_inches()) == tuple(frames[0][1].get_size_inches())
    end = [ax.images[0].get_array() for ax in figure.gram(run).axes if ax.images]
    np.testing.assert_array_equal(np.array([image.get_array() for image in images[-1]]), np.array(end))
    assert "replica 0" in frames[0][1].axes[0].get_ylabel()
    # Of more than so many the first, the last and some between them are drawn, and the page says so.
    for module in (gram_figures, catalogue):
        monkeypatch.setattr(module, "MOST_FRAMES", 2)
    assert [step for step, _ in figure.gram_frames(run)] == [0, STEPS[-1]]
    page, _, _ = make_report(run, tmp_path / "out")
    assert "Drawn are 2 of the 3 steps that have Gram matrices.</span></figcaption>" in page.read_text()


def test_gram_frames_need_records(records):
    with pytest.raises(figure.NoRecordsError, match="no Gram matrices recorded yet"):
        figure.gram_frames(records / "unfinished")
    assert len(load_grams(records / "eight")) == 8 * 6


def naive_medians(dir, measure, layers, stage):
    """Median over replicas of the mean over layers, by value of the first and second swept number."""
    settings = find_settings(dir)
    frame = load_measures(dir, measures=[measure])
    found = {}
    for setting in settings:
        for network in setting.networks:
            rows = frame[
                (frame["run"] == network.run) & (frame["replica"] == network.replica) & (frame["step"] == STEPS[-1])
            ]
            rows = rows[rows["layer"].isin(layers) & (rows["stage"] == stage)]
            found.setdefault(tuple(setting.values.values()), []).append(np.mean(rows["value"]))
    return {values: np.median(numbers) for values, numbers in found.items()}


@pytest.mark.parametrize(("measure", "layers", "stage"), [("rank", "intermediate", "pre"), ("dnc1", "head.1", "post")])
def test_heatmap_of_a_sweep(records, measure, layers, stage):
    fig = figure.heatmap(records / "sweep", measure, layers=layers, stage=stage)
    ax, bar = fig.axes
    assert (ax.get_xlabel(), ax.get_ylabel(), bar.get_ylabel()) == ("weight_decay", "depth", "median over replicas")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.001", "0.05"]
    expected = naive_medians(
        records / "sweep", measure, ["head.1", "head.2"] if layers == "intermediate" else [layers], stage
    )
    grid = np.asarray(ax.images[0].get_array())
    for (decay, depth), value in expected.items():
        assert grid[[3, 4].index(depth), [1e-3, 5e-2].index(decay)] == pytest.approx(value)
    assert fig.get_supxlabel() == "replicas in every median: 3"
    turned = np.asarray(
        figure.heatmap(records / "sweep", measure, x="depth", layers=layers, stage=stage).axes[0].images[0].get_array()
    )
    np.testing.assert_array_equal(turned, grid.T)


def test_heatmap_of_values_replicated_within_a_run(tmp_path):
    run = write_run(tmp_path / "run", list(range(8)))
    points = [(16, 1e-3), (16, 2e-3), (16, 2e-3), (32, 1e-3), (32, 1e-3), (32, 1e-3), (8, 1e-3), (8, 1e-3)]
    rows = [{"replica": i, "seed": i, "width": w, "weight_decay": decay} for i, (w, decay) in enumerate(points)]
    (run / "replicas.json").write_text(json.dumps(rows))
    ax = figure.heatmap(run, "loss", x="weight_decay", y="width").axes[0]
    grid = np.ma.masked_invalid(ax.images[0].get_array()).filled(-1)
    np.testing.assert_allclose(grid, [[0.165, -1], [0.10, 0.115], [0.14, -1]])  # final losses 0.10 ... 0.17
    assert {text.get_text() for text in ax.texts} == {
        "0.165\n[0.163, 0.168]\n(2)",
        "0.1\n(1)",
        "0.115\n[0.113, 0.118]\n(2)",
        "0.14\n[0.135, 0.145]\n(3)",
    }
    assert ax.get_title() == "final loss"


@pytest.mark.parametrize(
    ("folder", "arguments", "message"),
    [
        ("eight", {}, "fewer than two quantities vary"),
        ("sweep", {"measure": "nothing"}, "no nothing, pre, mean of intermediate layers recorded for split 'train'"),
        ("sweep", {"x": "width"}, r"x='width' has to vary; what does is \['weight_decay', 'depth'\]"),
        ("sweep", {"x": "depth", "y": "depth"}, "y='depth' has to differ from x"),
    ],
)
def test_a_heatmap_that_cannot_be(records, folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        figure.heatmap(records / folder, **arguments)


def test_decays_that_are_powers_of_two_have_a_log2_axis(tmp_path):
    for job, decay in enumerate((5e-4, 1e-3, 4e-3)):
        write_run(tmp_path / str(job), [0, 1], swept={"weight_decay": decay})
    ax = figure.summary(tmp_path).axes[0]
    assert (ax.get_xscale(), ax.xaxis.get_transform().base) == ("log", 2)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.0005", "0.001", "0.004"]


def test_lines_of_a_sweep_are_in_the_order_of_their_values(tmp_path):
    for job, (depth, decay) in enumerate((d, w) for w in (1e-3, 5e-4) for d in (3, 4)):
        write_run(tmp_path / str(job), [0], swept={"depth": depth, "weight_decay": decay})
    labels = [text.get_text() for text in figure.summary(tmp_path).legends[0].get_texts()]
    assert labels == ["weight_decay=0.0005", "weight_decay=0.001"]


def test_pdf_has_embedded_fonts_and_the_same_bytes_each_time(records):
    first, second = (style.to_pdf(figure.loss(records / "eight")) for _ in range(2))
    assert first == second
    assert first.startswith(b"%PDF")
    assert b"/FontFile2" in first
    assert b"/Type3" not in first
    assert b"CreationDate" not in first
