"""Reports of somebody else's folder: written whole, beside no link, with none of the folder's modules."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ncbench
from ncbench._safe_path import leave_current_folder
from ncbench.report.__main__ import main
from ncbench.report.pages import report
from tests.helpers.run_folders import write_run

WRITTEN = ("table.csv", "table.tex", "report.html", "claims.json")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder, of which the page draws nothing."""
    monkeypatch.setattr(report, "draw_all", lambda dir, out: [])
    return write_run(tmp_path / "run", [0, 1])


def test_what_is_written_goes_through_no_link(run, tmp_path):
    aim = tmp_path / "bashrc"
    aim.write_text("mine")
    for name in WRITTEN:
        (run / name).symlink_to(aim)
    assert main([str(run)]) == 0
    assert aim.read_text() == "mine"
    assert not any((run / name).is_symlink() for name in WRITTEN)
    (tmp_path / "index").mkdir()
    for name in ("index.html", "README.md", "paper_claims.md"):
        (tmp_path / "index" / name).symlink_to(aim)
    assert main([str(run), "--index", "--out", str(tmp_path / "index")]) == 0
    assert aim.read_text() == "mine"


def test_a_linked_folder_of_figures_is_refused(tmp_path, capsys):
    run = write_run(tmp_path / "run", [0])
    other = write_run(tmp_path / "other", [0])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "loss.png").write_text("mine")
    for folder in (run, tmp_path):
        (folder / "figures").symlink_to(elsewhere)
    for arguments in ([str(run)], [str(run), str(other), "--compare"]):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert f"figures: is a link to {elsewhere}; nothing is written through it, remove it" in said
        assert said.count("\n") == 1
    assert os.listdir(elsewhere) == ["loss.png"]
    assert (elsewhere / "loss.png").read_text() == "mine"


def test_a_report_that_is_killed_leaves_the_older_one(run, monkeypatch):
    assert main([str(run)]) == 0
    before = {name: (run / name).read_bytes() for name in WRITTEN}
    write_run(run, [0, 1, 2], scale=2.0)

    def killed(dir, out):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "draw_all", killed)
    with pytest.raises(KeyboardInterrupt):
        main([str(run)])
    assert {name: (run / name).read_bytes() for name in WRITTEN} == before


def test_the_error_of_a_large_value_is_a_short_line(run, capsys):
    (run / "config.yaml").write_text("name: x\nmodel: {depth: 3}\nclaims: " + "y" * 2**21)
    assert main([str(run), "--check"]) == 2
    said = capsys.readouterr().err
    assert len(said) < 2100
    assert said.count("\n") == 1


def test_a_module_in_the_run_folder_is_not_imported(tmp_path):
    for module in ("pandas", "argparse", "yaml", "numpy"):
        (tmp_path / f"{module}.py").write_text("open('IMPORTED', 'w').close()\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(ncbench.__file__).parents[1])}
    command = [sys.executable, "-m", "ncbench.report", "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "holds no run" in done.stderr
    assert done.returncode == 2
    assert not (tmp_path / "IMPORTED").exists()


@pytest.mark.parametrize("first", ["", "here"])
def test_the_path_of_modules_keeps_the_folder_of_the_package_alone(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [first and str(tmp_path), "/elsewhere"])
    leave_current_folder()
    assert sys.path == ["/elsewhere"]
    checkout = str(Path(ncbench.__file__).parents[1])
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(sys, "path", [first and checkout, "/elsewhere"])
    leave_current_folder()
    assert sys.path == [first and checkout, "/elsewhere"]


@pytest.mark.parametrize("command", ["ncbench.report", "ncbench.measure", "ncbench.sweep"])
def test_every_command_that_reads_takes_it_away_before_it_imports(command):
    lines = Path(importlib.import_module(f"{command}.__main__").__file__).read_text().splitlines()
    imports = [line.strip() for line in lines if line.strip().startswith(("import ", "from "))]
    assert imports[0] == "from ncbench._safe_path import leave_current_folder"
