"""The papers and their figures, a user's own paper, and the check of the figure that an experiment names."""

import pytest

from ncbench.claims.papers import carry_paper, check_reproduces, departures, package_papers, paper_of, read_papers
from ncbench.run.compose import compose_jobs, experiments

GOOD = {"paper": "sukenik24", "figure": "2 top", "forms": ["quick"]}
DOE = "arxiv: '2701.00001'\ntitle: Another one\nfigures:\n  1: the loss\n  2 left: ranks\n"


def test_six_papers_with_the_figures_of_their_experiment_sections():
    # What the text says beside its figures stands under an entry `text`.
    counts = {key: len(paper.figures.keys() - {"text"}) for key, paper in package_papers().items()}
    # 2405.14468: Figures 1 to 10, of which 2 has two parts and 3 has three; 2402.03991: five and six;
    # 2410.23169: Figures 1 to 8, of which 2 and 3 have two parts; 2008.08186: Figures 1 to 8 and
    # Table 1; 1512.03385, for the network alone: Figure 6 and Table 6.
    assert counts == {"sukenik24": 13, "zangrando24": 5, "zangrando26": 6, "garrod25": 10, "papyan20": 9, "he16": 2}


@pytest.mark.parametrize(
    "value",
    [
        None,
        GOOD,
        {**GOOD, "variation": "n = 5"},
        {**GOOD, "figure": [7, "8"]},
        {**GOOD, "picture": "loss"},
        {**GOOD, "departs": ["n = 5", "width 20"]},
        {**GOOD, "paper": {"key": "doe27", "title": "Another one", "figures": {"2 top": "the loss"}}},
    ],
)
def test_accepts(value):
    check_reproduces(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fig2", "reproduces=fig2: must be null or"),
        ({"paper": "sukenik24"}, "must be null or"),
        (
            {**GOOD, "paper": "smith99"},
            "reproduces.paper=smith99: must be one of garrod25, he16, papyan20, sukenik24, ",
        ),
        ({**GOOD, "paper": "smith99"}, ", or have a file paper/smith99.yaml in --config-dir"),
        ({**GOOD, "paper": {"key": "doe27"}}, "reproduces.paper: title: a value is needed"),
        ({**GOOD, "paper": ["doe27"]}, "reproduces.paper=['doe27']: must be one of garrod25, "),
        ({**GOOD, "figure": 11}, "reproduces.figure=11: sukenik24 has the figures 1, 2 top"),
        ({**GOOD, "figure": [7, 12]}, "reproduces.figure=12: sukenik24 has"),
        ({**GOOD, "forms": "quick"}, "reproduces.forms=quick: must list quick, paper or both"),
        ({**GOOD, "forms": ["slow"]}, "must list quick, paper or both"),
        ({**GOOD, "forms": []}, "must list quick, paper or both"),
        (
            {**GOOD, "picture": "photograph"},
            "reproduces.picture=photograph: must be a figure of the report, one of blocks",
        ),
        ({**GOOD, "picture": "NoRecordsError"}, "reproduces.picture=NoRecordsError: must be a figure of the report"),
        ({**GOOD, "note": "n = 5"}, "reproduces.note=n = 5: unknown key"),
        ({**GOOD, "departs": "n = 5"}, "reproduces.departs=n = 5: must list in words which given settings are not"),
        ({**GOOD, "departs": [5]}, "reproduces.departs=[5]: must list in words"),
        ({**GOOD, "departs": [""]}, "reproduces.departs=['']: must list in words"),
    ],
)
def test_refuses_in_one_line(value, message):
    with pytest.raises(ValueError, match=r"^reproduces") as caught:
        check_reproduces(value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_departures_of_experiments():
    assert departures({**GOOD, "departs": ["n = 5", "width 20"]}) == ("n = 5", "width 20")
    assert departures(GOOD) == departures({**GOOD, "departs": None}) == departures(None) == departures("none") == ()


def papers_in(folder, text, name="doe27"):
    (folder / "paper").mkdir(exist_ok=True)
    (folder / "paper" / f"{name}.yaml").write_text(text)
    return [folder]


def test_a_paper_is_a_file_and_a_run_carries_the_one_that_is_not_of_this_package(tmp_path):
    folders = papers_in(tmp_path, DOE)
    (paper,) = read_papers(folders).values()
    assert (paper.key, paper.label, paper.figures) == (
        "doe27",
        "arXiv 2701.00001",
        {"1": "the loss", "2 left": "ranks"},
    )
    named = {"paper": "doe27", "figure": 1, "forms": ["quick"]}
    carried = carry_paper(named, folders)
    check_reproduces(carried)
    assert paper_of(carried) == paper
    assert carry_paper(GOOD, folders) == GOOD
    assert carry_paper(named, []) == named
    assert carry_paper(None, folders) is None


def test_a_paper_that_is_not_known_has_the_figures_that_runs_name():
    paper = paper_of({"paper": "doe27", "figure": [1, "2 left"]})
    assert (paper.label, list(paper.figures)) == ("doe27", ["1", "2 left"])
    assert paper_of({"figure": 1}) is None
    assert paper_of("2024-05-23") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arxiv: 2701.00001\ntitle: a\nfigures: {1: b}", "arxiv: 2701.00001 must be a text, in quotes"),
        ("title: a\nfigures: [1, 2]", "figures: must be a mapping of figure numbers to what they show"),
        ("title: a\nfigures: {}", "figures: must be a mapping of figure numbers to what they show"),
        ("figures: {1: b}", "title: a value is needed"),
        ("title: a\nfigures: {1: b}\ndoi: c", "doi: unknown key (known: arxiv, title, figures, claims)"),
        ("3", "must be a mapping of arxiv, title and figures"),
        ("title: [", "expected the node content"),
    ],
)
def test_a_file_that_is_no_paper_is_one_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"doe27\.yaml: ") as caught:
        read_papers(papers_in(tmp_path, text))
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
