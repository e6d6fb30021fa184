"""The index of figures: every figure of every paper once, with what the records in a directory say of its claims."""

import json
import re

import pytest
import yaml

from ncbench.claims.papers import package_papers
from ncbench.report.__main__ import main
from ncbench.report.pages import catalogue
from ncbench.report.pages import index as indices
from ncbench.report.pages.badges import evidence_rows, figure_of
from ncbench.report.pages.index import write_index
from ncbench.report.pages.templating import markdown, policy
from ncbench.report.verdicts.judge import judge, write_claims
from tests.helpers.own_paper import PAPER, claims
from tests.helpers.run_folders import write_run


def judged(folder):
    """Writes the claims.json that a report has beside its page."""
    write_claims(judge(folder), folder / "claims.json")
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    base = tmp_path_factory.mktemp("results")
    write_run(base / "one", list(range(8)), name="dufm_k4", claims=claims())
    write_run(base / "grid" / "a", list(range(4)), name="grid", claims=claims("loss_falls"))
    write_run(base / "grid" / "b", list(range(4)), name="grid", claims=claims("loss_falls"))
    for folder in ("one", "grid"):
        judged(base / folder).joinpath("report.html").write_text("")
    return base


def row_of(text, start):
    (row,) = [line for line in text.splitlines() if line.startswith(start)]
    return row


def cell_of(base, number="1"):
    """What the index says of a figure of the paper that the runs carry."""
    write_index(base, base)
    section = (base / "README.md").read_text().split("## arXiv 2701.00001")[1]
    return row_of(section, f"| **{number}** ").split(" | ")[1]


def test_index_lists_every_figure_and_links_the_reports(results, tmp_path):
    page = write_index(results, tmp_path / "out")
    text = page.read_text()
    listed = (tmp_path / "out" / "README.md").read_text()
    papers = package_papers().values()
    for paper in papers:
        assert paper.arxiv in text
        for number in paper.figures:
            assert f"<b>{number}</b>" in text
    # Figures 1 and 2 of the paper that the runs carry have a claim with a record, its Figure 3 has none.
    without = re.findall(r"^\| \*\*.*? \| (· not yet|= by (?:proof|construction));", listed, re.MULTILINE)
    assert len(without) == sum(len(paper.figures) for paper in papers) + 1
    row = row_of(listed, "| **1** the loss of a small model |")
    assert "| ✗ not reproduced at the paper's settings; 2 of 2 claims decided, 2 covered |" in row
    assert "| 1 reproduced, 1 not reproduced at the paper's settings |" in row
    assert "(0123abcd; 60 s" in row
    assert "[`grid`](" in row
    assert "(0123abcd; 120 s" in row
    link = re.search(r"\[`dufm_k4`\]\(([^)]+)\)", listed)[1]
    assert (tmp_path / "out" / link).resolve() == (results / "one" / "report.html").resolve()


def test_a_claim_counts_in_the_cells_of_all_its_figures_and_one_without_a_record_in_none(results, tmp_path):
    write_index(results, tmp_path)
    listed = (tmp_path / "README.md").read_text()
    section = listed.split("## arXiv 2701.00001")[1]
    assert "✗ not reproduced at the paper's settings; 1 of 1 claim decided, 1 covered" in row_of(section, "| **2** ")
    assert "| · not yet; 0 of 1 claim decided, 0 covered | 1 undecided |" in row_of(section, "| **3** ")
    (row,) = [line for line in listed.splitlines() if line.startswith("| arXiv 2701.00001 |")]
    # claims, covered, decided; reproduced, at other settings, not at ours, not at the paper's, undecided, by proof
    assert [cell.strip() for cell in row.strip("| ").split("|")][1:] == ["3", "2", "2", "1", "0", "0", "1", "1", "0"]


def test_every_claim_of_a_paper_is_listed_with_its_settings_and_where_its_verdict_comes_from(results, tmp_path):
    write_index(results, tmp_path)
    text = (tmp_path / "paper_claims.md").read_text()
    for paper in package_papers().values():
        for name in paper.claims:
            assert f"| `{name}`, " in text
    falls, srg, ranks = (row_of(text.split("2701.00001")[1], f"| `{name}`") for name in PAPER["claims"])
    assert "| Figure 1: In most runs the loss ends below 0.2. | 4 classes, eight runs / width |" in falls
    assert "| ✓ reproduced | dufm\\_k4, grid |" in falls
    assert "✗ not reproduced at the paper's settings | fails in dufm\\_k4; the paper leaves nothing open |" in srg
    assert "○ undecided (no record) | no experiment here tests it; would decide: networks of 300 layers |" in ranks


@pytest.mark.usefixtures("unrendered")
def test_an_outcome_that_was_not_expected_stands_out(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    write_run(folder, list(range(8)), name="dufm_k4", claims=claims("loss_falls", expect="fails"))
    monkeypatch.setattr(catalogue, "CATALOGUE", ())
    assert main([str(folder), "--check", "--draw"]) == 1
    assert "expected: fails" in (folder / "report.html").read_text()
    write_index(tmp_path, tmp_path)
    assert "1 not as expected" in (tmp_path / "index.html").read_text()
    assert "**1 not as expected**" in (tmp_path / "README.md").read_text()


def test_runs_that_are_not_done_are_named_and_their_claims_undecided(tmp_path):
    write_run(tmp_path / "half", [0, 1], name="half", finished=False, claims=claims())
    judged(tmp_path / "half")
    assert main([str(tmp_path), "--index"]) == 0
    assert "1 (running)" in (tmp_path / "index.html").read_text()
    assert cell_of(tmp_path) == "○ undecided; 0 of 2 claims decided, 2 covered"


def test_what_came_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>|`x`"
    write_run(tmp_path / "run", list(range(8)), name=evil, claims={"own": claims("loss_falls")["loss_falls"]})
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config["reproduces"]["departs"] = [evil]
    for claim in config["reproduces"]["paper"]["claims"].values():
        claim |= {"says": evil, "given": [evil], "open": [evil], "decided_by": evil, "place": evil}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    judged(tmp_path / "run")
    reported = json.loads((tmp_path / "run" / "claims.json").read_text())
    reported["experiments"][0]["reproduces"]["variation"] = evil
    reported["experiments"][0]["claims"][0]["statement"] = evil
    (tmp_path / "run" / "claims.json").write_text(json.dumps(reported))
    write_index(tmp_path, tmp_path)
    assert "<script" not in (tmp_path / "index.html").read_text()
    listed = (tmp_path / "README.md").read_text()
    assert r"(&lt;script&gt;alert(1)&lt;/script&gt;\|\`x\`)" in listed
    for text in (listed, (tmp_path / "paper_claims.md").read_text()):
        assert "<script" not in text
        assert "|`x`" not in text


def test_wrong_directories_are_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "--index"]) == 2
    assert main([str(tmp_path), "--index"]) == 2
    (tmp_path / "claims.json").write_text("[]")
    assert main([str(tmp_path), "--index"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "no such directory" in first
    assert "holds no claims.json; make the reports of its runs first" in second
    assert "has to hold the claims of experiments" in third


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


@pytest.mark.usefixtures("unrendered")
def test_a_run_with_other_settings_has_no_verdict_on_the_figure(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", list(range(8)), name="dufm_k4", claims=claims())
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("[+experiment=dufm_k4, schedule.steps=5, dataset.root=/data]")
    monkeypatch.setattr(catalogue, "CATALOGUE", ())
    assert main([str(run)]) == 0
    assert "<code>schedule.steps=5</code>" in (run / "report.html").read_text()
    assert cell_of(tmp_path) == "· not yet; 0 of 2 claims decided, 0 covered"
    (row,) = [line for line in (tmp_path / "README.md").read_text().splitlines() if "`dufm_k4`" in line]
    assert ", run with schedule.steps=5" in row


def test_a_run_cannot_change_what_the_table_of_a_known_paper_says(tmp_path, mutant):
    """The second run carries a copy of the paper in which the failing claim leaves a setting open."""
    for name in ("first", "second"):
        write_run(tmp_path / name, list(range(8)), name=name, claims=claims())
        judged(tmp_path / name)
    path = tmp_path / "second" / "claims.json"
    content = json.loads(path.read_text())
    copy = content["experiments"][0]["reproduces"]["paper"]
    copy["claims"]["all_below_srg"] |= {"open": ["everything"], "says": "something else"}
    copy["claims"]["new"] = {"figures": ["1"], "place": "Figure 1", "says": "one more.", "kind": "share"}
    path.write_text(json.dumps(content))
    assert cell_of(tmp_path) == "✗ not reproduced at the paper's settings; 2 of 3 claims decided, 2 covered"
    assert "something else" not in (tmp_path / "paper_claims.md").read_text()
    gullible = mutant(indices, "if name not in known}", "if True}")
    (table,) = [table for table in gullible.read_tables(tmp_path, tmp_path)[0] if table.paper.key == "doe27"]
    assert table.coverage.decided == 1
