"""scripts/theorems.py: its parts on small problems, and the committed numbers against the closed forms."""

import json
import sys
from pathlib import Path

import pytest
import theorems

from ncbench.theory import dufm_mse
from ncbench.theory.representation_cost import feedforward_cost_delta


def test_srg_rates_are_measured():
    row = theorems.srg(15, 4, 5)
    assert row["stationary"]
    assert row["order"] is None
    assert row["order_wider"] == 2
    assert row["measured_wider"] == pytest.approx(row["rate_wider"], rel=1e-3)
    assert row["falling"] == 0


def test_a_trained_network_walks_the_path():
    row = theorems.path(1.0, 0)
    assert row["trained_error"] < 1e-12
    assert row["largest_error"] < 1e-12
    assert max(row["variation_end"]) < 1e-20
    assert min(row["variation_start"]) > 0.1


def test_training_reaches_the_predicted_cost_at_a_large_delta():
    (row,) = theorems.gamma([10.0], 1)
    assert row["cost_lowest"] == pytest.approx(row["cost_predicted"], rel=2e-3)
    assert row["limit"] == pytest.approx(8)


def converges(rows, limit):
    """Whether trained costs fall at every step towards the limit: to within 5 %, 1 % without the first layer."""
    costs = [row["cost_lowest"] for row in rows]
    upper = rows[-1]["upper_lowest"]
    return costs == sorted(costs, reverse=True) and limit < costs[-1] < 1.05 * limit and limit < upper < 1.01 * limit


def test_the_committed_record():
    record = json.loads(theorems.OUT.read_text())
    for row in record["srg"]:
        escape = dufm_mse.srg_escape(row["K"], row["L"], 1, 1e-2, 2e-3, width=row["K"] + 1)
        assert (escape is None) == (row["K"] == 10) == (row["rate_wider"] is None)
        if escape is not None:
            assert row["measured_wider"] == pytest.approx(escape.rate, rel=1e-3)
    for row in record["path"]:
        assert row["largest_error"] < 1e-12
        assert row["upper_cost_change"] == 0
        assert max(row["variation_end"]) < 1e-20
    for row in record["gamma"]:
        assert row["cost_lowest"] == pytest.approx(
            feedforward_cost_delta([5**0.5] * 4, 4, row["delta"], 16, 20)[0], 1e-4
        )
    assert converges(record["gamma"], 8.0)
    assert not any(
        converges(record["gamma"], wrong) for wrong in (7.8, 8.2, 4 * 3 * 16 ** (-1 / 3), 4 * 4 * 12 ** (-1 / 4))
    )


def test_the_command_writes_the_three_parts(tmp_path, monkeypatch, capsys):
    for part, row in (("srg", {"K": 6}), ("path", {"slope": 1.0})):
        monkeypatch.setattr(theorems, part, lambda *_, row=row: row)
    monkeypatch.setattr(theorems, "gamma", lambda *_: [{"delta": 1.0}])
    out: Path = tmp_path / "theorems.json"
    monkeypatch.setattr(sys, "argv", ["theorems.py", "--quick", "--out", str(out)])
    assert theorems.main() == 0
    record = json.loads(out.read_text())
    assert set(record) == {"about", "srg", "path", "gamma"}
    assert record["about"]["command"] == "python scripts/theorems.py --quick"
    assert "delta=1" in capsys.readouterr().out
