"""Zero eigenvalues of the Hessian over the width, drawn from small records."""

import pytest

from ncbench.report import figure
from tests.helpers.run_folders import write_values


def write(folder, width, values, lines=True, **swept):
    rows = [{"width": width, "start": start, **swept} for start in ("dnc", "pairs") for _ in range(2)]
    counted = [{"name": "stiefel", "measure": "hessian_nullity", "value": 10.0 * width, "replicas": [0, 1]}]
    entry = {"values": None, "formula": None, "arguments": {}, "why": None}
    values = {"loss": [0.1] * 4, "hessian_nullity": values}
    return write_values(folder, values, {}, swept=rows, lines=[row | entry for row in counted] if lines else None)


def test_counts_and_lines_over_the_width(tmp_path):
    write(tmp_path / "a", 6, [60, 60, 24, 26])
    write(tmp_path / "b", 8, [80, 80, 36, 36])
    drawn = figure.nullity(tmp_path)
    (ax,) = (ax for ax in drawn.axes if ax.get_xlabel())
    measured = {bar.get_label(): bar[0] for bar in ax.containers}
    assert list(measured) == ["measured from dnc", "measured from pairs"]
    assert [list(map(float, measured["measured from dnc"].get_data()[axis])) for axis in (0, 1)] == [[6, 8], [60, 80]]
    assert list(measured["measured from pairs"].get_ydata()) == [25, 36]  # the median of 24 and 26
    (line,) = (line for line in ax.lines if line.get_label() == "stiefel")
    assert list(line.get_ydata()) == [60, 80]
    assert {text.get_text() for text in drawn.legends[0].get_texts()} == {*measured, "stiefel"}


def test_a_panel_for_each_of_the_others(tmp_path):
    for job, (width, depth) in enumerate([(6, 2), (8, 2), (6, 3), (8, 3)]):
        write(tmp_path / str(job), width, [job] * 4, lines=False, depth=depth)
    assert [ax.get_title() for ax in figure.nullity(tmp_path).axes] == ["depth=2", "depth=3"]


def test_what_it_needs(tmp_path):
    write_values(tmp_path / "a", {"loss": [0.1]}, {})
    with pytest.raises(figure.NoRecordsError, match="no zero eigenvalues of a Hessian recorded"):
        figure.nullity(tmp_path / "a")
    write(tmp_path / "b", 6, [1, 2, 3, 4])
    with pytest.raises(figure.NoRecordsError, match="the width does not vary"):
        figure.nullity(tmp_path / "b")
