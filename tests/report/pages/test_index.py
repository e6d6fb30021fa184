"""The index of figures: every figure of every paper once, with the verdicts of what lies in a directory."""

import json
import re

import pytest

from ncbench.claims.papers import package_papers
from ncbench.report.__main__ import main
from ncbench.report.pages.badges import evidence_rows, figure_of
from ncbench.report.pages.index import write_index
from ncbench.report.pages.templating import markdown, policy
from ncbench.report.verdicts.overall import overall
from tests.helpers.run_folders import claims, write_run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    base = tmp_path_factory.mktemp("results")
    write_run(base / "one", list(range(8)), name="dufm_k4", claims=claims())
    write_run(base / "grid" / "a", list(range(4)), name="grid", claims={"loss_falls": claims()["loss_falls"]})
    write_run(base / "grid" / "b", list(range(4)), name="grid", claims={"loss_falls": claims()["loss_falls"]})
    for folder in ("one", "grid"):
        assert main([str(base / folder)]) == 0
    return base


def test_index_lists_every_figure_and_links_the_reports(results, tmp_path):
    page = write_index(results, tmp_path / "out")
    text = page.read_text()
    listed = (tmp_path / "out" / "README.md").read_text()
    papers = package_papers().values()
    for paper in papers:
        assert paper.arxiv in text
        for number in paper.figures:
            assert f"<b>{number}</b>" in text
    assert listed.count("· not yet") == sum(len(paper.figures) for paper in papers) - 1
    (row,) = [line for line in listed.splitlines() if "`dufm_k4`" in line]
    assert "**2 top**" in row
    assert "✗ not reproduced | 1 reproduced, 1 not reproduced | 0123abcd | 60 s |" in row
    (row,) = [line for line in listed.splitlines() if "`grid`" in line]
    assert row.startswith("|  | [`grid`](")  # a second experiment of the same figure
    assert "✓ reproduced | 1 reproduced | 0123abcd | 120 s |" in row
    link = re.search(r"\[`dufm_k4`\]\(([^)]+)\)", listed)[1]
    assert (tmp_path / "out" / link).resolve() == (results / "one" / "report.html").resolve()


def test_a_verdict_that_was_not_expected_stands_out(results, tmp_path):
    folder = tmp_path / "one"
    write_run(
        folder,
        list(range(8)),
        name="dufm_k4",
        claims={"loss_falls": {**claims()["loss_falls"], "expect": "not reproduced"}},
    )
    assert main([str(folder), "--check"]) == 1
    assert "expected: not reproduced" in (folder / "report.html").read_text()
    write_index(tmp_path, tmp_path)
    assert "1 not as expected" in (tmp_path / "index.html").read_text()
    assert "**1 not as expected**" in (tmp_path / "README.md").read_text()


def test_runs_that_are_not_done_are_named(tmp_path):
    write_run(tmp_path / "half", [0, 1], name="half", finished=False, claims=claims())
    assert main([str(tmp_path / "half")]) == 0
    assert main([str(tmp_path), "--index"]) == 0
    assert "1 (running)" in (tmp_path / "index.html").read_text()
    assert "○ not enough data" in (tmp_path / "README.md").read_text()


def test_what_came_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>|`x`"
    write_run(
        tmp_path / "run",
        list(range(8)),
        name=evil,
        claims={"loss_falls": {**claims()["loss_falls"], "statement": evil}},
    )
    assert main([str(tmp_path / "run")]) == 0
    reported = json.loads((tmp_path / "run" / "claims.json").read_text())
    reported["experiments"][0]["reproduces"]["variation"] = evil
    (tmp_path / "run" / "claims.json").write_text(json.dumps(reported))
    write_index(tmp_path, tmp_path)
    assert "<script" not in (tmp_path / "index.html").read_text()
    listed = (tmp_path / "README.md").read_text()
    assert "<script" not in listed
    assert r"(&lt;script&gt;alert(1)&lt;/script&gt;\|\`x\`)" in listed


def test_wrong_directories_are_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "--index"]) == 2
    assert main([str(tmp_path), "--index"]) == 2
    (tmp_path / "claims.json").write_text("[]")
    assert main([str(tmp_path), "--index"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "no such directory" in first
    assert "holds no claims.json; make the reports of its runs first" in second
    assert "has to hold the claims of experiments" in third


def test_one_verdict_for_several_claims_is_the_least_favourable_that_was_decided():
    assert overall(["not enough data", "conditional", "reproduced"]) == "conditional"
    assert overall(["reproduced", "not reproduced", "conditional"]) == "not reproduced"
    assert overall(["not enough data"]) == "not enough data"


def test_evidence_as_lines_and_tables():
    found = evidence_rows({"estimate": 0.25, "reason": None, "per_axis": [{"width": 12, "median": 1.0}, {"width": 30}]})
    assert [(fact.name, fact.text, list(fact.header), list(fact.rows)) for fact in found] == [
        ("estimate", "0.25", [], []),
        ("per axis", "", ["width", "median"], [["12", "1"], ["30", ""]]),
    ]


def test_several_figures_of_one_experiment():
    named = {"paper": "sukenik24", "figure": [7, 8], "forms": ["paper"]}
    assert figure_of(named) == "arXiv 2405.14468, Figures 7 and 8"
    assert figure_of(None) == ""


def test_markdown_and_policy():
    assert markdown("two\nlines | [a](b)") == r"two lines \| \[a\](b)"
    # The hash of a script is the base64 of its SHA-256: of the empty script as every browser prints it.
    assert "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='" in policy("")


def test_a_run_with_other_settings_has_no_verdict_on_the_figure(tmp_path):
    run = write_run(tmp_path / "run", list(range(8)), name="dufm_k4", claims=claims())
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("[+experiment=dufm_k4, schedule.steps=5, dataset.root=/data]")
    assert main([str(run)]) == 0
    assert "<code>schedule.steps=5</code>" in (run / "report.html").read_text()
    write_index(tmp_path, tmp_path)
    (row,) = [line for line in (tmp_path / "README.md").read_text().splitlines() if "`dufm_k4`" in line]
    assert "≈ changed | run with schedule.steps=5 |" in row
    assert '<span class="badge changed" title' not in (tmp_path / "index.html").read_text()  # not in the matrix
