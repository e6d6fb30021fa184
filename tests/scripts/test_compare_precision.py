"""scripts/compare_precision.py: what is compared, and when the two precisions are alike."""

import sys

import compare_precision
import pandas as pd
import pytest
from compare_precision import compared, within


def of_run(dnc1, rank):
    rows = [("head.1", "pre", "dnc1", dnc1), ("head.1", "pre", "rank", rank), ("", "", "loss", 0.2)]
    return pd.DataFrame(rows, columns=["layer", "stage", "measure", "value"])


def test_medians_over_seeds_and_their_ratio():
    values = {"32": [(1e-3, 5), (3e-3, 5), (9e-3, 6)], "bf16-mixed": [(2e-3, 5), (6e-3, 5), (7e-3, 5)]}
    rows = [of_run(*run).assign(precision=precision) for precision, runs in values.items() for run in runs]
    table = compared(pd.concat(rows))
    assert table.loc["head.1", "pre", "dnc1"].tolist() == [3e-3, 6e-3, 2.0]
    assert table.loc["head.1", "pre", "rank"].tolist() == [5, 5, 1]


def test_what_is_undefined_is_not_alike():
    assert within(pd.Series([0.5, 2.0]))
    assert not within(pd.Series([1.0, 2.001]))
    assert not within(pd.Series([1.0, 0.499]))
    assert not within(pd.Series([1.0, float("nan")]))


@pytest.mark.parametrize(("other", "status"), [((1.5e-3, 5), 0), ((2.5e-3, 5), 1), ((1e-3, 6), 1)])
def test_exit_status(other, status, tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(compare_precision, "train", lambda words: trained.append(words) or 0)
    monkeypatch.setattr(
        compare_precision, "final", lambda folder: of_run(*(other if folder.name.startswith("bf16") else (1e-3, 5)))
    )
    monkeypatch.setattr(sys, "argv", ["compare_precision.py", "digits_mlp", "--out", str(tmp_path), "measure.points=5"])
    assert compare_precision.main() == status
    assert len(trained) == 6
    assert {"+experiment=digits_mlp", "measure.points=5", "trainer.precision=bf16-mixed", "seed=2"} <= set(trained[-1])
    assert f"median ranks equal: {other[1] == 5}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "unknown experiment 'nope'"),
        (["mnist_resnet20_small"], "EXPERIMENT mnist_resnet20_small: has a grid of 2 runs"),
        (["digits_mlp", "--seeds", "0"], "--seeds 0: must be >= 1"),
    ],
)
def test_refused_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare_precision.py", *words, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        compare_precision.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
