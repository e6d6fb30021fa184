"""Two runs compared: what is said of the differences, each worked out by hand."""

import math

import pandas as pd
import pytest

from ncbench.sweep.compare import Comparison, _note

AT = {"step": 5, "layer": "head.1", "stage": "post", "replica": 1}


def noted(table, column, before, now, **more):
    comparison = Comparison(values=8)
    _note(comparison, 0, table, column, pd.Series({**AT, **more, column: before, f"{column} again": now}), 0)
    return comparison


def test_entries_of_a_matrix_are_named_one_by_one():
    found = noted("sample_grams", "gram", [1.0, 2.0, math.nan], [1.0, 4.0, math.nan])
    where = "step 5, head.1.post Gram matrix of the samples, replica 1, entry 1"
    assert found.first == f"{where}: 2.0 before, 4.0 this time (relative difference 0.5)"
    assert (found.differing, found.largest, found.largest_at) == (1, 0.5, where)


def test_matrices_of_different_sizes_are_not_compared_entry_by_entry():
    found = noted("means", "mean", [1.0, 2.0], [1.0, 2.0, 3.0])
    assert found.first == "step 5, head.1.post class means, replica 1: 2 and 3 numbers"
    assert found.differing == 0
    assert not found.identical


@pytest.mark.parametrize(
    ("counts", "lines"),
    [
        ({"missing": 1, "new": 2}, ["1 rows are missing, 2 are new"]),
        (
            {"differing": 3, "largest": 0.25, "largest_at": "there"},
            ["3 of 8 values differ, by at most 0.25 relative (there)"],
        ),
        (
            {"differing": 1, "largest": math.inf, "largest_at": "there", "new": 1},
            ["1 of 8 values differ, by at most not comparable as a ratio (there)", "0 rows are missing, 1 are new"],
        ),
    ],
)
def test_every_kind_of_difference_has_a_line(counts, lines):
    comparison = Comparison(values=8, **counts)
    comparison.found((5, 0, 0), "step 5: this and that")
    comparison.found((9, 0, 0), "a later one")
    assert comparison.text().splitlines() == ["different: step 5: this and that", *lines]
