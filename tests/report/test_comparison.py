"""Two runs side by side: numbers worked by hand, wrong input in one line, the page and the curves."""

import json
import math

import numpy as np
import pytest
import yaml

from ncbench.report import compare_runs, comparison, differences, figure
from ncbench.report.__main__ import main
from tests.helpers.run_folders import write_run, write_values

MADE = {"versions": {"torch": "2.9", "numpy": "2.4"}, "device": {"name": "CPU", "threads": 2}, "git": {"commit": "c"}}
VALUES = {"loss": {0: [4.0, 6.0], 10: [1.0, 2.0], 20: [0.5, 0.5]}, "head.1.pre.rank": {0: [4.0, 4.0], 10: [3.0, 3.0]}}
OTHERS = {"loss": {0: [5.0], 10: [1.25]}, "head.1.pre.rank": {0: [4.0], 10: [math.nan]}, "test.accuracy": {10: [0.5]}}


def configure(run, **changed):
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changed}))


@pytest.fixture
def two(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write_values(one, VALUES, {}, **MADE, seed=0, digests={"0": "a", "5": "b", "10": "c", "20": "d"})
    changed = {**MADE, "versions": {"torch": "2.10", "numpy": "2.4", "scipy": "1.17"}}
    write_values(other, OTHERS, {}, **changed, seed=7, digests={"0": "a", "10": "x"})
    configure(one, optimizer={"lr": 0.1, "momentum": 0.9}, logger={"kind": "csv"})
    configure(other, optimizer={"lr": 0.1000001}, logger={"kind": "wandb"})
    return one, other


def test_what_differs_worked_by_hand(two):
    found = compare_runs(*two)
    assert found.names == ("one", "other")
    assert found.configuration == [
        ("optimizer.lr", "0.1", "0.1000001"),
        ("optimizer.momentum", "0.9", "not set"),
        ("seed", "0", "7"),
        ("networks", "2", "1"),
    ]
    assert found.made == [("versions.torch", "2.9", "2.10"), ("versions.scipy", "not set", "1.17")]
    assert (found.parted, found.step) == (
        10,
        10,
    )  # step 5 has a digest in the first alone, step 20 was measured there alone
    assert found.weights == "differ first at step 10; at 1 measured before it they are the same"
    columns = ["layer", "stage", "split", "measure", "first", "second", "difference"]
    loss, rank = found.values[columns].values.tolist()
    assert loss == ["", "", "train", "loss", 1.5, 1.25, -0.25]
    assert rank[:5] == ["head.1", "pre", "train", "rank", 3.0]
    assert np.isnan(rank[5:7]).all()
    assert found.alone == ([], ["accuracy (test)"])


def test_the_difference_changes_its_sign_with_the_order(two):
    assert compare_runs(*two[::-1]).values["difference"].tolist()[0] == 0.25


def test_the_same_run_trained_twice_has_no_difference(tmp_path):
    for name in ("a", "b"):  # of one configuration and seed: counted once elsewhere, two here
        write_values(tmp_path / name, VALUES, {}, **MADE, digests={"0": "a", "20": "d"})
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (found.configuration, found.made, found.parted, found.step) == ([], [], None, 20)
    assert found.text().splitlines() == [
        "the configurations are the same",
        "versions and machine are the same",
        "weights: the same at all 2 steps measured in both",
        "values at step 20, the last that both measured (medians over networks)",
        "  layer    stage  split  measure  a    b    difference",
        "  network         train  loss     0.5  0.5  0",
    ]


def test_what_is_not_recorded_is_said(tmp_path):
    write_values(tmp_path / "a", {"loss": {0: [1.0]}}, {})
    write_values(tmp_path / "b", {"loss": {5: [1.0]}}, {}, digests={"5": "x"})
    (tmp_path / "b" / "config.yaml").unlink()
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (found.configuration, found.step, len(found.values)) == (None, None, 0)
    assert found.text().splitlines() == [
        "the configurations are not both recorded",
        "versions and machine are the same",
        "weights: not compared, there is no digest of them in a",
        "no step was measured in both",
    ]


def test_command_prints_and_writes_a_page(two, capsys):
    assert main([str(two[0]), str(two[1]), "--compare"]) == 0
    page = two[0].parent / "comparison.html"
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"comparison: {page}"
    assert "4 keys of the configuration differ" in printed
    assert "  optimizer.lr        0.1  0.1000001" in printed
    assert "  network         train  loss     1.5  1.25   -0.25" in printed
    text = page.read_text()
    assert '<th scope="row">optimizer.lr</th><td>0.1</td><td>0.1000001</td>' in text
    assert "<td>1.5</td><td>1.25</td><td>-0.25</td>" in text
    assert "differ first at step 10" in text
    assert "<svg role" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert {path.name for path in (page.parent / "figures").iterdir()} == {
        f"comparison.{kind}" for kind in ("png", "svg", "pdf")
    }


def test_curves_of_both_on_the_same_axes(tmp_path):
    for name, scale in (("a", 1.0), ("b", 2.0)):
        write_run(tmp_path / name, [0, 1, 2], scale=scale)
    drawn = figure.comparison([tmp_path / "a", tmp_path / "b"])
    loss, dnc1 = drawn.axes
    curves = {line.get_label(): line for line in loss.lines}
    assert {label: line.get_linestyle() for label, line in curves.items()} == {"a": "-", "b": "--"}
    ratio = np.asarray(curves["b"].get_ydata()) / np.asarray(curves["a"].get_ydata())
    np.testing.assert_allclose(ratio, 2.0)
    assert len(dnc1.lines) == 2 * 4  # features and three layers of the head, one stage each
    low, high = loss.get_ylim()
    assert low <= min(curves["a"].get_ydata()) < max(curves["b"].get_ydata()) <= high


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (None, "two run folders are compared, not 1 (one); the report of a folder compares all runs below it"),
        ("one/../one", "one and one/../one are the same run folder"),
        (".", ". is no run folder: there is no run.json in it"),
        ("deeper", "the layers of the two runs differ: only one has head.1; only deeper has head.2, head.3"),
        ("empty", "empty has recorded no measures"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(two, monkeypatch, capsys, second, message):
    monkeypatch.chdir(two[0].parent)
    write_values(two[0].parent / "deeper", {"head.3.pre.rank": [1.0], "head.2.pre.rank": [1.0]}, {})
    (two[0].parent / "empty").mkdir()
    (two[0].parent / "empty" / "run.json").write_text(json.dumps({"status": "planned"}))
    assert main(["one", *([second] if second else []), "--compare"]) == 2
    assert capsys.readouterr().err == f"ncbench report: {message}\n"
    assert not (two[0].parent / "comparison.html").exists()


def test_planted_bugs_are_found(two, mutant):
    """A digest that one side lacks, and a step that one side lacks, must not count."""
    wrong = mutant(differences, "for step in first if step in second", "for step in {**first, **second}")
    with pytest.raises(KeyError):
        wrong.of_weights(list(two))
    wrong = mutant(comparison, "steps[0] & steps[1]", "steps[0] | steps[1]")
    assert wrong.compare_runs(*two).step == 20 != compare_runs(*two).step


def test_a_network_that_diverged_is_in_no_median(tmp_path):
    """It stands at 100 from step 10 on: the median of 1, 2 and 100 is 1.5 there, and 5 of 4, 6, 5 before."""
    losses = {"loss": {0: [4.0, 6.0, 5.0], 10: [1.0, 2.0, 100.0]}}
    one = write_values(tmp_path / "one", losses, {}, replica_states={"diverged": [{"replica": 2, "step": 10}]})
    other = write_values(tmp_path / "other", losses, {})
    found = compare_runs(one, other).values
    assert (found["first"].item(), found["second"].item()) == (1.5, 2.0)
    lines = figure.comparison([one, other]).axes[0].lines
    assert [line.get_ydata()[-1] for line in lines] == [1.5, 2.0]
