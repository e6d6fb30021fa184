import csv
import re
import shutil
from html.parser import HTMLParser

import pytest

from ncbench.report.__main__ import main, make_report
from ncbench.report.pages import catalogue
from tests.helpers.run_folders import write_records, write_run


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"))


class Page(HTMLParser):
    """Collects ids, links and tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)

    handle_startendtag = handle_starttag


@pytest.fixture(scope="module")
def report(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert main([str(records / "eight"), "--out", str(out)]) == 0
    return out


def test_report_writes_page_table_and_figures(report):
    names = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    figures = {
        f"figures/{name}.{kind}"
        for name in ("loss", "learning_curves", "simplex", "collapse", "spectra", "rank", "gram", "measures")
        for kind in ("png", "svg", "pdf")
    }
    assert names == {"report.html", "table.csv", "table.tex", "claims.json"} | figures


def test_page_says_what_ran_and_what_came_out(report):
    text = (report / "report.html").read_text()
    assert "<title>dufm_k4</title>" in text
    for said in (
        "python -m ncbench.train +experiment=dufm_k4",
        "0.135 [0.1175, 0.1525]",
        "2 of 8",  # replicas 0 and 1 end below 0.12; 0.12 itself is not below
        "none: K = 4 is no triangular number",
        "DNC &lt;formula&gt;",
        "torch 2.15.0",
        "60.0 s",
        "done",
    ):
        assert said in text, said


def test_page_is_self_contained(report):
    text = (report / "report.html").read_text()
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    found = Page(text)
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert {target for target in re.findall(r"url\(#([^)]+)\)", text)} <= set(found.ids)
    assert not {"script", "link", "iframe", "img"} & set(found.tags)
    assert text.count("<svg role=") == 8
    assert "<?xml" not in text
    assert "<metadata" not in text
    assert text.count("<!DOCTYPE") == 1


def test_the_same_records_give_the_same_bytes(report, records, tmp_path):
    make_report(records / "eight", tmp_path)
    for path in sorted(report.rglob("*.*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(report)).read_bytes(), path.name


def test_table_holds_medians_worked_by_hand(report):
    with (report / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["run", "split", "layer", "stage", "measure", "step", "median", "q25", "q75", "min", "max", "replicas"]
    assert list(rows[0]) == [*names, "mean", "mean_low", "mean_high"]
    (loss,) = [row for row in rows if row["measure"] == "loss"]
    # final losses 0.10, 0.11, ..., 0.17
    expected = {"median": 0.135, "q25": 0.1175, "q75": 0.1525, "min": 0.10, "max": 0.17, "replicas": 8}
    # s = 0.01 sqrt(6), and t_{0.975, 7} = 2.364624: 2.364624 s / sqrt(8) = 0.0204782
    expected |= {"mean": 0.135, "mean_low": 0.1145218, "mean_high": 0.1554782}
    assert {name: float(loss[name]) for name in expected} == pytest.approx(expected)
    assert (loss["run"], loss["split"], loss["layer"], loss["step"]) == ("eight", "train", "", "1000")
    (tail,) = [row for row in rows if row["measure"] == "tail" and row["layer"] == "head.2"]
    assert (tail["stage"], float(tail["median"])) == ("weight", 0.25)
    assert len(rows) == 5 + 6 * 7 + 3 * 5


def test_names_from_configuration_and_data_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    run = write_run(tmp_path / "run", [0, 1], name=evil, swept={"note": evil}, finished=False)
    other = write_run(tmp_path / "<b>bold", [0], name=evil, swept={"note": "x$y_{"}, finished=False)
    assert {run, other}
    text = make_report(tmp_path, tmp_path / "out")[0].read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_one_report_of_several_directories_stands_in_their_parent(records, tmp_path, capsys, monkeypatch):
    summary = tuple(each for each in catalogue.CATALOGUE if each.name == "summary")
    monkeypatch.setattr(catalogue, "CATALOGUE", summary)
    shutil.copytree(records / "sweep" / "0", tmp_path / "a" / "0")
    shutil.copytree(records / "sweep" / "3", tmp_path / "b" / "3")
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.strip() == f"report: {tmp_path.resolve() / 'report.html'}"
    text = (tmp_path / "report.html").read_text()
    assert "weight_decay=0.001, depth=3" in text
    assert (tmp_path / "figures" / "summary.svg").is_file()
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["measure"] == "loss"]
    assert [(row["run"], row["weight_decay"], float(row["median"])) for row in rows] == [
        ("a/0", "0.001", pytest.approx(0.11)),
        ("b/3", "0.05", pytest.approx(0.44)),
    ]


def test_report_of_one_directory_stands_in_it_and_planned_runs_have_a_page(tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"status": "planned", "name": "later"}')
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"
    text = (tmp_path / "report.html").read_text()
    assert "planned" in text
    assert "Not drawn: no loss recorded yet." in text
    assert (tmp_path / "table.csv").read_text().startswith("run,split,layer,stage,measure,step,median")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "dir='nowhere' does not exist or is no directory"),
        (["."], "dir='.' holds no run; a run is a folder with run.json in it"),
        ([], "the following arguments are required: DIR (see --help)"),
        ([".", "--unknown"], "unrecognized arguments: --unknown (see --help)"),
        ([".", "--check", "--index"], "argument --index: not allowed with argument --check (see --help)"),
    ],
)
def test_wrong_input_is_one_line_and_exit_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err == f"ncbench report: {message}\n"
    assert printed.out == ""


def test_an_output_that_cannot_be_written_is_the_users_error(records, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(records / "one"), "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
