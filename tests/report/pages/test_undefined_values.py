"""Whatever the records hold, there is a page; it says why a figure is missing, unless there was nothing to show."""

import math
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ncbench.report import figure
from ncbench.report.__main__ import main, make_report
from ncbench.report.pages import catalogue
from tests.helpers.ensemble_folders import FIRST, LAST, block_gram, grid, line, pair_values, write_ensemble
from tests.helpers.own_paper import claims
from tests.helpers.run_folders import write_run

# All values NaN: those that say so, and those that show it (grey cells of the diagram, a table of dead layers).
UNDEFINED = ("collapse", "heatmap", "loss", "loss_ratio", "measures", "predicted", "rank", "size_scaling", "spectra")
UNDEFINED += ("bounds", "blocks", "tails", "summary", "seed_range")


def sweep(base, value):
    """Two widths, each an ensemble of ten seeds, two decays and two noises, of which every number is `value`."""
    points = grid(10, weight_decay=[1e-4, 1e-2], noise_ratio=[0.5, 1.0])
    count = len(points)
    values = {"loss": [0.1] * count, "grad_max": [1e-9] * count, "dead_layers": [0.0] * count, **pair_values(count, 4)}
    for l in range(1, 5):
        values |= {f"head.{l}.weight.{name}": [0.5] * count for name in ("tail", "stable_rank", "rank")}
        values |= {f"head.{l}.pre.{name}": [2.0] * count for name in ("rank", "effective_rank", "dnc1")}
        values |= {f"head.{l}.post.{name}": [0.1] * count for name in ("dnc1", "tcv", "tcv_relative")}
    spectra = {"head.1.weight": {at: [[2.0, 1.0]] * count for at in (FIRST, LAST)}}
    grams = {"head.1.post": {LAST: [block_gram(2, 2, 0.1)] * count}}
    curve = {"values": {"r": [4.0], "ratio": [0.9]}, "arguments": {"depth": 4, "num_classes": 6}}
    lines = [line("exists", "noise", 0.1), line("x", "tail", 0.1, layers=["head.1"], stage="weight")]
    lines += [line("dnc", "loss", 0.1), line("c", "curve", None, **curve)]
    for width in (16, 32):
        run = base / str(width)
        swept = [{**point, "width": width} for point in points]
        write_ensemble(run, swept, values, spectra=spectra, grams=grams, lines=lines, classes=2)
        for table, column in (("measures", "value"), ("spectra", "singular_value"), ("sample_grams", "gram")):
            for part in (run / table).glob("*.parquet"):
                _overwrite(part, column, value)
    return base


def _overwrite(part, column, value):
    table = pq.read_table(part)
    filled = [[value] * len(v) if isinstance(v, list) else value for v in table[column].to_pylist()]
    pq.write_table(_with(table, column, filled), part)


def _with(table, column, values):
    """The table with these values; not by pandas, which makes nulls of NaN, as no run writes them."""
    place = table.column_names.index(column)
    return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))


@pytest.fixture(scope="module")
def undefined(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("nan"), math.nan)


@pytest.mark.parametrize("name", UNDEFINED)
def test_a_figure_of_undefined_values_says_so(undefined, name):
    with pytest.raises(figure.UndefinedError, match=r"none of its values is finite|not finite|every layer .* is dead"):
        getattr(figure, name)(undefined)


def test_the_phase_diagram_shows_undefined_values_in_grey(undefined):
    fig = figure.phase_diagram(undefined)
    assert "no tail: dead or diverged (80 of 80 replicas)" in [t.get_text() for t in fig.legends[0].get_texts()]


def test_a_page_of_undefined_values_is_written_and_names_what_is_missing(undefined, tmp_path):
    page, _, refused = make_report(undefined, tmp_path / "out")
    assert refused is None
    text = page.read_text()
    assert (tmp_path / "out" / "table.csv").is_file()
    for name in ("heatmap", "summary", "predicted", "loss_ratio", "size_scaling", "tails", "blocks", "bounds", "loss"):
        section = re.search(rf'<section id="{name}-section">.*?</section>', text, flags=re.DOTALL)[0]
        assert '<p class="missing">Not drawn: ' in section, name
        assert not list((tmp_path / "out" / "figures").glob(f"{name}.*"))
    assert (tmp_path / "out" / "figures" / "dnc_share.png").is_file()  # who has no loss has not found a solution


def test_values_that_only_some_replicas_lack_are_left_out(tmp_path):
    run = write_run(tmp_path / "run", [0, 1, 2])
    for part in sorted((run / "measures").iterdir()):
        table = pq.read_table(part)
        rows = zip(table["replica"].to_pylist(), table["value"].to_pylist(), strict=True)
        pq.write_table(_with(table, "value", [math.nan if replica == 0 else value for replica, value in rows]), part)
    page, _, _ = make_report(run, tmp_path / "out")
    assert "Not drawn" not in page.read_text()


def test_an_error_in_one_figure_leaves_the_page_and_the_others(tmp_path, monkeypatch, caplog):
    def broken(dir):
        raise KeyError("a column that is not there")

    chosen = [
        catalogue.CatalogueFigure("broken", "Broken <b>", broken, "", optional=True),
        next(entry for entry in catalogue.CATALOGUE if entry.name == "loss"),
    ]
    monkeypatch.setattr(catalogue, "CATALOGUE", chosen)
    page, _, _ = make_report(write_run(tmp_path / "run", [0]), tmp_path / "out")
    text = page.read_text()
    assert "Broken &lt;b&gt;" in text
    assert "Not drawn: drawing failed with KeyError: &#39;a column that is not there&#39;." in text
    assert (tmp_path / "out" / "figures" / "loss.svg").is_file()
    assert "figure broken could not be drawn" in caplog.text


@pytest.fixture
def few_figures(monkeypatch, unrendered):
    """A page with the figure of measures alone: quick to make."""
    monkeypatch.setattr(catalogue, "CATALOGUE", ())


@pytest.mark.usefixtures("few_figures")
def test_pictures_under_former_names_do_not_stand_beside_a_new_page(tmp_path):
    run = write_run(tmp_path / "run", [0])
    (run / "figures").mkdir()
    for name in ("transition.png", "shadows.svg", "mine.png"):
        (run / "figures" / name).write_text("")
    assert main([str(run)]) == 0
    assert not (run / "figures" / "transition.png").exists()
    assert not (run / "figures" / "shadows.svg").exists()
    assert (run / "figures" / "mine.png").exists()


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize("stated", [math.nan, "text", [math.nan]])
def test_claims_that_cannot_be_read_do_not_keep_the_page_from_being_written(tmp_path, capsys, stated):
    run = write_run(tmp_path / "run", [0, 1], claims=claims())
    assert main([str(run)]) == 0
    assert (run / "claims.json").is_file()
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "claims": stated}))
    (run / "report.html").unlink()
    assert main([str(run), "--check"]) == 2
    assert not (run / "claims.json").exists()
    assert capsys.readouterr().err.startswith("ncbench report: ")
    assert main([str(run), "--check", "--draw"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("ncbench report: ")
    assert printed.err.count("\n") == 1
    assert "The claims could not be judged: " in (run / "report.html").read_text()
    assert not (run / "claims.json").exists()


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize("stated", [None, {}])
def test_a_run_without_claims_has_a_page(tmp_path, stated):
    run = write_run(tmp_path / "run", [0, 1], claims=claims())
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "claims": stated}))
    assert main([str(run)]) == 0
    assert "could not be judged" not in (run / "report.html").read_text()
