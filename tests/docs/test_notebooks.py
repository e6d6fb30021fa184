"""docs/notebooks: every cell runs, in order and in an empty folder; nothing is stored beside the text and the code."""

import ast
import json
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import matplotlib.pyplot as plt
import pytest
import torch

from ncbench.report import load_measures

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOKS = {path.stem: path for path in sorted((DOCS / "notebooks").glob("*.ipynb"))}
NC = {"nc1", "equinorm", "equiangularity", "self_duality", "ncc_mismatch"}
FOLDER_OF_A_MACHINE = r"[=\"' ]/(tmp|home|root|work|mnt|Users)/"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell):
    """The text of a cell, which nbformat keeps as one string or as lines."""
    return "".join(cell["source"])


def problems(notebook):
    """What keeps a notebook from being nbformat 4.5 (jupyter.org's schema of code and markdown cells), or clean."""
    found = []
    if (notebook.get("nbformat"), notebook.get("nbformat_minor")) != (4, 5):
        found.append("nbformat is not 4.5")
    if set(notebook) != {"cells", "metadata", "nbformat", "nbformat_minor"}:
        found.append("keys of the notebook")
    common = {"cell_type", "id", "metadata", "source"}
    keys = {"markdown": common, "code": common | {"execution_count", "outputs"}}
    cells = notebook.get("cells", [])
    for number, cell in enumerate(cells, 1):
        if set(cell) != keys.get(cell.get("cell_type")):
            found.append(f"cell {number}: keys")
            continue
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"]):
            found.append(f"cell {number}: id")
        lines = [cell["source"]] if isinstance(cell["source"], str) else cell["source"]
        if not lines or not all(isinstance(line, str) for line in lines):
            found.append(f"cell {number}: source")
        if cell.get("outputs") or cell.get("execution_count") is not None:
            found.append(f"cell {number}: a stored output")
    if len({cell.get("id") for cell in cells}) < len(cells):
        found.append("two cells have one id")
    if re.search(FOLDER_OF_A_MACHINE, json.dumps(notebook).replace("\\", "")):
        found.append("a folder of a machine")
    return found


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run a notebook as a kernel does, without one: the names at its end, and what its cells show.

    The folder has the records where a checkout has them; nothing connects to another machine.
    """

    def no_network(*_):
        raise AssertionError("a notebook that is run in a test connects to nothing")

    here = tmp_path / "docs" / "notebooks"
    here.mkdir(parents=True)
    (here.parent / "results").symlink_to(DOCS / "results", target_is_directory=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    plt.switch_backend("Agg")
    figures, shown = [], []
    monkeypatch.setattr(plt, "show", lambda: figures.append(plt.gcf()))

    def run(notebook):
        names = {"__name__": "__main__"}
        for number, cell in enumerate(notebook["cells"], 1):
            if cell["cell_type"] != "code":
                continue
            tree = ast.parse(source(cell))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            try:
                exec(compile(tree, f"cell {number}", "exec"), names)
                if last is not None:
                    shown.append(eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names))
            except Exception as error:
                error.add_note(f"in cell {number}:\n{source(cell)}")
                raise
        return SimpleNamespace(
            names=SimpleNamespace(**names), shown=[value for value in shown if value is not None], figures=figures
        )

    with torch.random.fork_rng():
        yield run
    plt.close("all")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_nbformat_4_and_small(name):
    assert problems(read(NOTEBOOKS[name])) == []
    assert NOTEBOOKS[name].stat().st_size < 60 * 1024


def test_a_notebook_that_is_not_would_be_seen():
    good = read(NOTEBOOKS["read_the_records"])
    assert good["cells"][1]["cell_type"] == "code"

    def planted(without="", **changes):
        first, second, *others = good["cells"]
        second = {key: value for key, value in {**second, **changes}.items() if key != without}
        return problems({**good, "cells": [first, second, *others]})

    assert planted() == []

    assert problems({**good, "nbformat": 3}) == ["nbformat is not 4.5"]
    assert planted(id=good["cells"][0]["id"]) == ["two cells have one id"]
    assert planted(id="a b") == ["cell 2: id"]
    assert planted(without="outputs") == ["cell 2: keys"]
    assert planted(source=[]) == ["cell 2: source"]
    assert planted(execution_count=3) == ["cell 2: a stored output"]
    output = {"output_type": "stream", "name": "stdout", "text": ["report: '/home/me/runs/report.html'"]}
    assert planted(outputs=[output]) == ["cell 2: a stored output", "a folder of a machine"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_begins_with_what_one_learns_and_how_long_it_takes(name):
    first = source(read(NOTEBOOKS[name])["cells"][0])
    assert first.startswith("# ")
    for word in ("**You learn**", "**It takes**", "**You need**"):
        assert word in first
    text = "\n".join(source(cell) for cell in read(NOTEBOOKS[name])["cells"] if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (NOTEBOOKS[name].parent / unquote(target)).is_file(), target


def test_the_page_has_every_notebook():
    page = (DOCS / "notebooks.md").read_text()
    assert re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", page) == [
        "read_the_records",
        "measure_your_network",
        "theory_beside_a_run",
    ]
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS.values():
        title = source(read(path)["cells"][0]).splitlines()[0].removeprefix("# ")
        assert f"[{title}]" in page


def test_read_the_records(execute, capsys):
    ran = execute(read(NOTEBOOKS["read_the_records"]))
    end = ran.names
    assert len(ran.figures) == 2
    assert [round(value, 8) for value in end.lines.values()] == [0.06859924, 0.05598515]  # as conf/experiment/dufm_k10
    assert end.last["max"] < end.lines["DNC"]
    assert end.loss["step"].is_monotonic_increasing
    assert list(ran.shown[2].loc[("head.3", "post")]) == [8.56624e-07, 10]  # the row of the record
    assert len(end.measured) == 10
    said = capsys.readouterr().out
    assert "best / SRG = 1.0004" in said
    assert "\nrank 6\n" in said  # between 5 and 7, the claim that this record confirms
    assert said.count("reproduced at other settings") == 5  # of the seven claims on its page


@pytest.mark.parametrize("page", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_measure_your_network(execute, capsys, page):
    """The page at the end takes most of the time: the quick test leaves that one cell out."""
    notebook = read(NOTEBOOKS["measure_your_network"])
    (last,) = (cell for cell in notebook["cells"] if source(cell) == "report([str(FOLDER)])")
    if not page:
        notebook["cells"].remove(last)
    ran = execute(notebook)
    end = ran.names
    found = load_measures("runs/digits")
    assert set(found["measure"]) >= NC
    assert sorted(found["epoch"].unique()) == sorted(end.MEASURED)
    of_train = end.table.query("split == 'train'").set_index(["measure", "layer", "stage"])["value"]
    assert of_train.loc[("accuracy", "", "")] == 1  # the terminal phase, as the text says
    nc1 = found.query("measure == 'nc1' and split == 'train'").pivot_table(
        index="epoch", columns="layer", values="value", observed=True
    )
    assert nc1.loc[60, "relu3"] < nc1.loc[0, "relu3"] / 20
    by_layer = nc1.loc[60, ["relu1", "relu2", "relu3", "classifier"]]
    assert by_layer.is_monotonic_decreasing  # every layer is more collapsed than the one before it
    assert nc1.loc[60, "classifier.input"] == nc1.loc[60, "relu3"]
    drawn = [value for value in ran.shown if hasattr(value, "_repr_png_")]
    assert len(drawn) == 3
    assert ("report: " in capsys.readouterr().out) == page
    assert not page or Path("runs/digits/report.html").stat().st_size > 100_000


def test_theory_beside_a_run(execute, capsys):
    ran = execute(read(NOTEBOOKS["theory_beside_a_run"]))
    end = ran.names
    assert len(ran.figures) == 2
    assert abs(end.explicit - end.srg) < 1e-12
    assert end.below.outcome == "holds"
    assert end.below.evidence["hits"] == 64
    assert abs(end.below.evidence["low"] - 64 / (64 + 1.959964**2)) < 1e-6  # Wilson's interval of 64 of 64
    assert end.srg < end.final.min() < 1.01 * end.srg
    assert "64 of 64 end below DNC" in capsys.readouterr().out
    (spectrum,) = (value for value in ran.shown if "SRG" in getattr(value, "columns", ()))
    assert abs(spectrum["SRG"] - [1, *[0.6124] * 4, *[0] * 5]).max() == 0  # sqrt(3/8), Lemma 15
    assert abs(spectrum["measured"] - spectrum["SRG"]).max() < 0.02


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("dufm_mse.srg_loss(**settings)", "dufm_mse.srg_loss(10, **settings)", TypeError),
        ("import json\n", "import json\nfrom ncbench.report import load_spektra\n", ImportError),
    ],
)
def test_a_mistake_in_a_cell_would_be_seen(execute, old, new, error):
    notebook = read(NOTEBOOKS["theory_beside_a_run"])
    (cell,) = (cell for cell in notebook["cells"][:4] if cell["cell_type"] == "code" and source(cell).count(old) == 1)
    cell["source"] = source(cell).replace(old, new)
    with pytest.raises(error) as caught:
        execute(notebook)
    assert new.splitlines()[-1] in caught.value.__notes__[0]
