"""The table of the papers' figures, and the check of the figure that an experiment names."""

import pytest

from ncbench.claims.papers import PAPERS, check_reproduces
from ncbench.run.compose import compose_jobs, experiments

GOOD = {"paper": "sukenik24", "figure": "2 top", "forms": ["quick"]}


def test_four_papers_with_the_figures_of_their_experiment_sections():
    counts = {paper.key: len(paper.figures) for paper in PAPERS}
    # 2405.14468: Figures 1 to 10, of which 2 has two parts and 3 has three; 2402.03991: five and six;
    # 2410.23169: Figures 1 to 8, of which 2 and 3 have two parts.
    assert counts == {"sukenik24": 13, "zangrando24": 5, "zangrando26": 6, "garrod25": 10}
    for paper in PAPERS:
        assert len({figure.number for figure in paper.figures}) == len(paper.figures)


@pytest.mark.parametrize("value", [None, GOOD, {**GOOD, "variation": "n = 5"}, {**GOOD, "figure": [7, "8"]}])
def test_accepts(value):
    check_reproduces(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fig2", "reproduces=fig2: must be null or"),
        ({"paper": "sukenik24"}, "must be null or"),
        ({**GOOD, "paper": "smith99"}, "reproduces.paper=smith99: must be one of sukenik24, "),
        ({**GOOD, "figure": 11}, "reproduces.figure=11: sukenik24 has 1, 2 top"),
        ({**GOOD, "figure": [7, 12]}, "reproduces.figure=12: sukenik24 has"),
        ({**GOOD, "forms": "quick"}, "reproduces.forms=quick: must list quick, paper or both"),
        ({**GOOD, "forms": ["slow"]}, "must list quick, paper or both"),
        ({**GOOD, "forms": []}, "must list quick, paper or both"),
        ({**GOOD, "note": "n = 5"}, "reproduces.note=n = 5: unknown key"),
    ],
)
def test_refuses_in_one_line(value, message):
    with pytest.raises(ValueError, match=r"^reproduces") as caught:
        check_reproduces(value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_experiment_names_its_figure_and_quick_ones_have_the_quick_form():
    for name in experiments():
        reproduces = compose_jobs([f"+experiment={name}"], multirun=False)[0].config.reproduces
        assert reproduces is not None, name
        if name.endswith("_quick"):
            assert reproduces["forms"] == ["quick"], name
        elif f"{name}_quick" in experiments():
            assert reproduces["forms"] == ["paper"], name
