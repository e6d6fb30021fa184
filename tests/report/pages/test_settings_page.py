"""What the page and the LaTeX table say of settings of several runs."""

import re
import shutil
import subprocess

import pytest

from ncbench.report.__main__ import make_report
from ncbench.report.pages.headline import Table
from ncbench.report.pages.latex import latex_table
from ncbench.report.pages.notes import notes
from tests.helpers.seed_sweeps import write_seed, write_sweep


def test_a_page_of_a_sweep_over_seeds_has_a_row_for_each_setting_and_no_folder_in_its_labels(tmp_path, monkeypatch):
    monkeypatch.setattr("ncbench.report.pages.report.draw_all", lambda dir, out: [])  # the figures take their time
    sweep = write_sweep(tmp_path / "sweep", widths=(32,))
    page, _, _ = make_report(sweep, tmp_path / "out")
    text = page.read_text()
    assert "6 runs, 2 settings with 3 networks each" in text
    final = text[text.index('<h2 id="final-values">') : text.index('<h2 id="layers">')]
    assert re.findall(r'<th scope="row">(.*?)</th>', final) == ["weight_decay=0.001", "weight_decay=0.01"]
    assert not any(folder.name in final for folder in sweep.iterdir())
    table = (tmp_path / "out" / "table.tex").read_text()
    first, second = table.split(r"\end{tabular}")[:2]
    assert r"weight\_decay=0.001 & $3$ & $1000$ & $2$ [$1.5$, $3$]" in first
    assert r"weight\_decay=0.001 & $3$ & $1000$ & $2.33333$ [$-1.46125$, $6.12792$]" in second  # 7/3 -+ 3.79458


def test_a_network_that_is_there_twice_and_a_run_that_is_not_done_are_named(tmp_path):
    assert notes(write_seed(tmp_path / "a", 0, 1.0)) == []
    write_seed(tmp_path / "b", 1, 2.0, status="running")
    write_seed(tmp_path / "c", 1, 2.0)
    write_seed(tmp_path / "d", 2, 2.0, status="failed")
    aggregated, twice, unfinished = notes(tmp_path)
    assert aggregated.startswith(
        "Runs that differ in nothing but the seed are one setting: 4 runs, 1 setting with 3 net"
    )
    assert twice == (
        "Counted once: 1 network that two runs hold, with the same configuration and seed. Left out: b (as c)."
    )
    assert "fig1 (seed 2: failed)" in unfinished


def test_the_table_is_latex_that_needs_no_package():
    table = Table(["", "loss_x"], [["a_b=5%", "1.5e-07 [-2, 3]"], ["c", "3 of 4"]], "Medians.")
    lines = latex_table(table).splitlines()
    assert lines[0] == "% Medians."
    assert lines[3:] == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r" & loss\_x \\",
        r"\midrule",
        r"a\_b=5\% & $1.5 \times 10^{-7}$ [$-2$, $3$] \\",
        r"c & $3$ of $4$ \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_table_is_typeset(tmp_path):
    table = latex_table(Table(["", "x"], [["a_b", "1e-3"]], "c"))
    (tmp_path / "a.tex").write_text(rf"\documentclass{{article}}\begin{{document}}{table}\end{{document}}")
    subprocess.run(["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True)
