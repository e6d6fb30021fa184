"""The documentation site: it builds without a warning, its links lead somewhere, its pages tell what is so."""

import inspect
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import concept_figures
import pytest
import torch
import yaml
from site_docstrings import readable

from ncbench.core import frames
from ncbench.report.__main__ import main as report
from ncbench.report.measures import MEASURES
from ncbench.train import main as train

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
API = ("core", "measure", "report", "analysis", "models", "data")


def pages():
    """The pages that the navigation names."""

    def named(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for value in (entry.values() if isinstance(entry, dict) else entry) for page in named(value)]

    return named(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly from a copy."""
    pytest.importorskip("zensical")
    pytest.importorskip("mkdocstrings")
    root = tmp_path_factory.mktemp("site")
    for folder in ("docs", "ncbench"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "scripts").mkdir()
    for file in ("mkdocs.yml", "scripts/site_docstrings.py"):
        shutil.copy(ROOT / file, root / file)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=root, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stdout + built.stderr
    return root / "site"


def test_every_page_of_the_documentation_is_in_the_navigation():
    there = {path.relative_to(DOCS).as_posix() for path in (*DOCS.glob("*.md"), *DOCS.glob("api/*.md"))}
    named = pages()
    assert there <= set(named)
    assert len(named) == len(set(named))
    assert all((DOCS / page).is_file() for page in named)


def test_links_of_the_built_site_lead_somewhere(site):
    broken = set()
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links are those of the server's root
            continue
        for target in re.findall(r'(?:href|src)="([^"#]+)(?:#[^"]*)?"', page.read_text()):
            inside = not re.match(r"[a-z]+:|//", target)
            if inside and not (page.parent / unquote(target)).exists():
                broken.add((page.relative_to(site).as_posix(), target))
    assert broken == set()


def test_every_public_name_is_in_the_reference_with_its_docstring(site):
    for package in API:
        page = site / "api" / ("models" if package == "data" else package) / "index.html"
        text = page.read_text()
        home = import_module(f"ncbench.{package}")
        shown = {name for name in home.__all__ if f'id="ncbench.{package}.{name}"' in text}
        assert shown == {name for name in home.__all__ if not inspect.ismodule(getattr(home, name))}


@pytest.mark.parametrize("package", [*API, "theory.dufm_mse", "theory.dufm_ce", "report.figure"])
def test_every_public_function_and_class_says_what_it_is(package):
    home = import_module(f"ncbench.{package}")
    for name in home.__all__:
        value = getattr(home, name)
        if callable(value):
            assert value.__doc__, name
            assert value.__doc__.strip().splitlines()[0].rstrip().endswith((".", ":")), name


def test_docstrings_reach_the_site_in_a_form_that_it_reads():
    args = "Args:\n    a, b: numbers,\n        both.\n    c: another.\n\nRaises:\n    ValueError: none."
    text = f"One line.\n\n>>> 1 + 1\n2\n\n{args}"
    assert readable(text) == (
        "One line.\n\nExamples:\n    >>> 1 + 1\n    2\n\nArgs:\n    a: numbers,\n        both.\n    b: as `a`.\n"
        "    c: another.\n\nRaises:\n    ValueError: none."
    )
    assert readable("Nothing to change.\n\nIt stays.") == "Nothing to change.\n\nIt stays."


def test_the_pictures_show_what_the_page_says():
    ranks = [int(torch.linalg.matrix_rank(means)) for means in concept_figures.geometries().values()]
    assert ranks == [10, 9, 5, 5]
    cosines = concept_figures.geometries()["SRG:\nedges of a graph"]
    cosines = torch.nn.functional.normalize(cosines, dim=1) @ torch.nn.functional.normalize(cosines, dim=1).mT
    share = [
        len(set(a) & set(b)) == 1 for a in frames.triangular_edges(5) for b in frames.triangular_edges(5) if a != b
    ]
    off = cosines[~torch.eye(10, dtype=torch.bool)]
    torch.testing.assert_close(off, 0.5 * torch.tensor(share, dtype=torch.float64))
    tcv = [value for *_, value in concept_figures.trained()]
    assert tcv[0] > 0.2 > tcv[1] > 10 * tcv[2]


def test_the_quick_start_works_as_written(tmp_path, monkeypatch, capsys):
    page = (DOCS / "index.md").read_text()
    commands = re.findall(r"^python -m ncbench\.(train|report) (.*?)(?:\s+#.*)?$", page, re.M)
    assert [name for name, _ in commands] == ["train", "report"]
    monkeypatch.chdir(tmp_path)
    assert train([*commands[0][1].split(), "trainer.max_epochs=2", "trainer.progress=false"]) == 0
    assert report(commands[1][1].split()) == 0
    assert (tmp_path / "outputs" / "first" / "report.html").is_file()
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(snippet, "docs/index.md", "exec"), {})
    assert "nc1" in capsys.readouterr().out


def test_every_measure_that_the_report_knows_has_its_formula_on_the_page():
    page = (DOCS / "measures.md").read_text()
    assert [name for name in MEASURES if f"`{name}`" not in page] == []
