"""docs/citing.md: the BibTeX has the papers of the tables, and the container gets what the package is built from."""

import re
import tomllib
from pathlib import Path

from ncbench.claims.papers import package_papers

ROOT = Path(__file__).resolve().parents[2]


def entries():
    """Key -> fields of docs/references.bib."""
    found = {}
    for key, body in re.findall(
        r"^@\w+\{(\w+),\n(.*?)^\}", (ROOT / "docs" / "references.bib").read_text(), re.M | re.S
    ):
        found[key] = dict(re.findall(r"^\s+(\w+)\s*=\s*\{(.*)\},$", body, re.M))
    return found


def test_the_papers_are_those_of_the_tables():
    cited, papers = entries(), package_papers()
    assert set(cited) == set(papers)
    for key, paper in papers.items():
        assert cited[key]["eprint"] == paper.arxiv
        assert cited[key]["title"] == paper.title
        assert " and " in cited[key]["author"]
        assert {"year", "note"} & set(cited[key])


def test_the_container_gets_what_the_package_is_built_from():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    copied = {name for line in lines for name in line.split()}
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    assert needed | {"pyproject.toml", "constraints.txt"} == copied
    assert all((ROOT / name).exists() for name in copied)
    assert "ncbench" in project["project"]["scripts"]
    kept_out = (ROOT / ".dockerignore").read_text().split()
    assert not copied & set(kept_out)
