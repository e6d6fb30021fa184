"""Reading and tabulating what stacks of fully connected networks record: source layers, sample Grams, lines, states."""

import csv

import numpy as np
import pytest

from ncbench.records.load import load_final
from ncbench.records.naming import describe
from ncbench.records.settings import find_settings
from ncbench.report import figure, load_references, load_sample_grams
from ncbench.report import settings as settings
from ncbench.report.__main__ import make_report
from ncbench.report.pages.headline import headline
from ncbench.report.settings import final_table
from tests.helpers.ensemble_folders import FIRST, LAST, block_gram, grid, line, pair_values, write_ensemble
from tests.helpers.run_folders import write_run, write_values

NAMES = [
    "run",
    "split",
    "layer",
    "stage",
    "measure",
    "step",
    "median",
    "q25",
    "q75",
    "min",
    "max",
    "replicas",
    "mean",
    "mean_low",
    "mean_high",
]


def naive(values):
    """Median of every key as it was written."""
    return {key: float(np.median(found)) for key, found in values.items()}


def test_the_table_has_a_row_for_every_source_layer(tmp_path, mutant):
    values = {"loss": [0.1, 0.2, 0.4], **pair_values(3, 3)}
    run = write_values(tmp_path / "run", values, [])
    table = final_table(run)
    assert list(table.columns) == [*NAMES[:5], "source_layer", *NAMES[5:]]
    found = {
        ".".join(filter(None, (row.layer, row.stage, row.measure))) + f"@{row.source_layer}".rstrip("@"): row.median
        for row in table.itertuples()
    }
    assert found == pytest.approx(naive(values))
    bounds = table[(table["layer"] == "head.3") & (table["measure"] == "rank_bound")]
    assert list(bounds["source_layer"]) == ["features", "head.1", "head.2"]
    pooled = mutant(settings, ".nunique() > 1).any()", ".nunique() > 9).any()").final_table(run)
    assert len(pooled[(pooled["layer"] == "head.3") & (pooled["measure"] == "rank_bound")]) == 1


def test_tables_without_several_sources_keep_their_columns(tmp_path):
    assert list(final_table(write_run(tmp_path / "run", [0, 1])).columns) == NAMES
    assert list(final_table(write_values(tmp_path / "one", pair_values(2, 1), [])).columns) == NAMES


def test_a_source_that_is_recorded_less_often_keeps_its_own_last_value(tmp_path):
    values = {
        "head.2.weight.rank_bound@features": {0: [3.0], 10: [2.0]},
        "head.2.weight.rank_bound@head.1": {0: [5.0], 1000: [1.0]},
    }
    final = load_final(write_values(tmp_path / "run", values, []))
    found = dict(zip(final["source_layer"].astype(str), zip(final["step"], final["value"], strict=True), strict=True))
    assert found == {"features": (10, 2.0), "head.1": (1000, 1.0)}


def test_sample_grams(tmp_path):
    grams = {
        f"head.{l}.post": {at: [block_gram(2, 3, w, s) for s in range(2)] for at, w in ((FIRST, 1.0), (LAST, 0.0))}
        for l in (2, 1)
    }
    run = write_ensemble(tmp_path / "run", grid(2), {"loss": [0.1, 0.2]}, grams=grams)
    found = load_sample_grams(run, steps="last")
    assert list(found.columns) == ["run", "replica", "step", "layer", "stage", "size", "gram"]
    assert list(found["layer"].cat.categories) == ["head.1", "head.2"]
    block = np.kron(np.eye(2), np.ones((3, 3)))
    assert all(np.array_equal(gram, block) for gram in found["gram"])
    assert set(load_sample_grams(run, steps="first")["step"]) == {0}
    assert len(load_sample_grams(run)) == 8
    assert load_sample_grams(write_run(tmp_path / "other", [0])).empty


@pytest.mark.usefixtures("unrendered")
def test_lines_of_other_measures_are_no_losses(tmp_path):
    lines = [
        line("dnc", "loss", 0.05),
        line("last", "norm", 1.5, layers=["head.3"], stage="weight", formula="F"),
        line("exists", "noise", 0.1),
    ]
    values = {"loss": {0: [1.0, 1.0], 1000: [0.1, 0.2]}, "head.3.weight.norm": [1.4, 1.5]}
    run = write_ensemble(tmp_path / "run", grid(2), values, lines=lines)
    references = load_references(run)
    assert list(references["layers"]) == [None, ["head.3"], None]
    assert list(references["stage"]) == [None, "weight", None]
    assert [name for name in headline(run).header if name.isupper()] == ["DNC"]
    (ax,) = figure.loss(run).axes
    assert [one.get_label() for one in ax.lines if one.get_label().isupper() or " 0" in str(one.get_label())] == [
        "DNC 0.05"
    ]
    text = make_report(run, tmp_path / "out")[0].read_text()
    assert '<th scope="row">LAST</th><td>norm (head.3, weight)</td><td>1.5</td>' in text
    assert '<th scope="row">EXISTS</th><td>noise</td>' in text
    plain = make_report(write_run(tmp_path / "plain", [0]), tmp_path / "plain_out")[0].read_text()
    assert '<th scope="col">line</th><th scope="col">value</th>' in plain


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize(
    ("states", "status", "said"),
    [
        ({"converged": 3, "stalled": 2}, "done", "<td>3 converged, 2 stalled; 5 ran out of steps</td>"),
        ({"converged": 10}, "done", "<td>10 converged</td>"),
        ({"converged": 3}, "running", "<td>3 converged</td>"),
        ({"dead": 2}, "done", "<td>2 dead</td>"),
    ],
)
def test_the_page_says_how_replicas_ended(tmp_path, states, status, said):
    first = 0
    listed = {}
    for kind, count in states.items():
        listed[kind] = [{"replica": i, "step": 9} for i in range(first, first + count)]
        first += count
    run = write_values(tmp_path / "run", {"loss": [0.1] * 10}, [], replica_states=listed, status=status)
    assert said in make_report(run, tmp_path / "out")[0].read_text()


@pytest.mark.usefixtures("unrendered")
def test_noise_that_follows_from_a_ratio_is_not_told_twice(tmp_path):
    assert describe({"noise": 0.1, "noise_ratio": 1.0, "width": None}) == "noise_ratio=1"
    assert describe({"noise": 0.1, "noise_ratio": None}) == "noise=0.1"
    points = [*grid(1, weight_decay=[1e-2, 4e-2], noise_ratio=[0.5]), *grid(1, weight_decay=[1e-2], noise=[0.3])]
    run = write_ensemble(tmp_path / "run", points, {"loss": [0.1, 0.2, 0.3]})
    labels = [setting.label for setting in find_settings(run)]
    assert labels == [
        "weight_decay=0.01, noise_ratio=0.5",
        "weight_decay=0.01, noise=0.3",
        "weight_decay=0.04, noise_ratio=0.5",
    ]
    with (make_report(run, tmp_path / "out")[0].parent / "table.csv").open(newline="") as file:
        assert {row["noise"] for row in csv.DictReader(file)} == {"0.05", "0.1", "0.3"}
