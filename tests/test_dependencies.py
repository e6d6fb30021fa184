"""What is imported is declared, and what its package does not promise to keep has an upper bound."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {"ncbench", "hydra_plugins", "tests", *(path.stem for path in (ROOT / "scripts").glob("*.py"))}
NOT_PROMISED = ("numba.core",)  # beside modules whose names begin with an underscore


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(*groups):
    """Distribution -> requirement: of the package and its extras, and of these dependency groups."""
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    lines += [line for group in groups for line in PROJECT["dependency-groups"][group]]
    return {canonical(Requirement(line).name): Requirement(line) for line in lines}


def imported(*folders):
    """Module -> one file that imports it, of everything that is neither ours nor Python's."""
    found = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.partition(".")[0] not in (OURS | set(sys.stdlib_module_names)):
                    found.setdefault(name, path.relative_to(ROOT).as_posix())
    return found


@pytest.fixture(scope="module")
def distribution():
    """The distribution that a module is of; one that is not installed here has the name of its module."""
    known = importlib.metadata.packages_distributions()
    return lambda module: canonical(known.get(module.partition(".")[0], [module.partition(".")[0]])[0])


@pytest.mark.parametrize(
    ("folders", "groups"),
    [(("ncbench", "hydra_plugins"), ()), (("scripts",), ("test", "site")), (("tests",), ("test",))],
)
def test_every_import_is_declared(folders, groups, distribution):
    modules = imported(*folders)
    declared = requirements(*groups)
    assert modules
    assert {name: file for name, file in modules.items() if distribution(name) not in declared} == {}


def private(module):
    return any(part.startswith("_") for part in module.split(".")) or module.startswith(NOT_PROMISED)


def test_what_a_package_does_not_promise_to_keep_has_an_upper_bound(distribution):
    declared = requirements()
    used = {distribution(name) for name in imported("ncbench", "hydra_plugins") if private(name)}
    assert {"hydra-core", "numba"} <= used
    bounded = {
        name for name, line in declared.items() if any(part.operator in ("<", "~=", "==") for part in line.specifier)
    }
    assert used <= bounded
    assert {"torch", "torchvision", "pytorch-lightning", "omegaconf"} <= bounded


def test_the_tests_of_the_lowest_versions_are_there():
    script = (ROOT / "scripts" / "lowest_versions.sh").read_text()
    named = re.findall(r"(?<![\w/])tests/[\w/]+(?:\.py)?", script.partition("tests=(\n")[2].partition("\n    )")[0])
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert re.search(r"lowest_versions\.sh", (ROOT / "docs" / "citing.md").read_text())


def test_the_script_of_the_lowest_versions_says_its_usage():
    done = subprocess.run([ROOT / "scripts" / "lowest_versions.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: scripts/lowest_versions.sh DIR [TESTS]\n")


def test_pip_itself_is_pinned():
    pins = (ROOT / "constraints.txt").read_text().split()
    assert any(line.startswith("pip==") for line in pins)
    recipes = [line for line in (ROOT / "Makefile").read_text().splitlines() if "$(PIP) install" in line]
    assert len(recipes) == 3
    assert all("--constraint $(CONSTRAINTS)" in line for line in recipes)
