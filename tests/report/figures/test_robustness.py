"""The figure of the verdict over settings: a mark for every claim at every setting where it was judged."""

import pytest

from ncbench.records.small_files import BadRecordsError
from ncbench.records.variations import ROBUSTNESS, Variation, Varied, read_varied, write_varied
from ncbench.report import figure

NAMES = {"ours": (None, "holds", "holds"), "of_the_paper": ("ranks", "fails", "undecided")}


def varied():
    def claims(place):
        return {name: {"paper_claim": of[0], "outcome": of[place], "measured": ""} for name, of in NAMES.items()}

    further = {"only_here": {"paper_claim": None, "outcome": "fails", "measured": ""}}
    return Varied(
        "fig1",
        ["ab" * 32],
        "python scripts/robustness.py fig1",
        "1 of 2 cores",
        3.0,
        [Variation("", "", ["1"], claims(1)), Variation("model.width", "40", ["2"], claims(2) | further)],
    )


def test_marks_are_those_of_the_outcomes_and_the_papers_claims_stand_first(tmp_path):
    write_varied(varied(), tmp_path)
    (ax,) = figure.robustness(tmp_path).axes
    marks = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts}
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["of the paper", "ours", "only here"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["as in the experiment", "model.width=40"]
    assert marks == {(0, 0): "✗", (0, 1): "○", (1, 0): "✓", (1, 1): "✓", (2, 0): "", (2, 1): "✗"}


def test_what_changes(tmp_path):
    write_varied(varied(), tmp_path)
    found = read_varied(tmp_path)
    assert found == varied()
    assert found.changed() == {
        "of_the_paper": ["model.width=40: undecided"],
        "only_here": ["model.width=40: fails"],
    }


def test_a_folder_without_varied_settings_and_one_with_something_else(tmp_path):
    with pytest.raises(figure.NoRecordsError, match="no settings were varied"):
        figure.robustness(tmp_path)
    assert read_varied(tmp_path) is None
    for text in ("[]", "{}", '{"schema_version": 1}', '{"schema_version": 1, "variations": [{"factor": ""}]}'):
        (tmp_path / ROBUSTNESS).write_text(text)
        with pytest.raises(BadRecordsError, match=r"robustness\.json: no findings at varied settings"):
            read_varied(tmp_path)
    (tmp_path / ROBUSTNESS).write_text('{"schema_version": 9}')
    with pytest.raises(BadRecordsError, match="another version"):
        read_varied(tmp_path)
