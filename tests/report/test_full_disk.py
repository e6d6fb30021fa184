"""A disk that is full while a report is written: one line, and the older report stays whole."""

import pytest

from ncbench.report.__main__ import main
from tests.helpers.full_disk import Disk
from tests.helpers.run_folders import write_run

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("full") / "run", [0, 1])
    (folder / "table.tex").write_text("of an older report")
    for name in ("report.html", "table.csv", "claims.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["report.html", "table.csv", "table.tex", "claims.json"])
def test_the_older_file_stays(name, run, monkeypatch, capsys):
    before = (run / name).read_bytes()
    Disk(monkeypatch).fills(name)
    assert main([str(run)]) == 1
    assert capsys.readouterr() == ("", f"ncbench report: {run / name}: No space left on device\n")
    assert (run / name).read_bytes() == before
    assert [path.name for path in run.rglob(".*.tmp")] == []


def test_figures_that_there_is_no_room_for_are_said_once(run, monkeypatch, capsys, caplog):
    from ncbench.records.whole_files import write_bytes
    from ncbench.report.pages import catalogue

    empty = catalogue.save(None, run, "none")

    def save(plot, folder, name):
        write_bytes(folder / f"{name}.pdf", empty.encode())
        return empty

    monkeypatch.setattr(catalogue, "save", save)
    Disk(monkeypatch).fills("*.pdf", 2)
    assert main([str(run)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"ncbench report: {run}/figures/")
    assert said.endswith(".pdf: No space left on device\n")
    assert said.count("\n") == 1
    assert caplog.records == []
