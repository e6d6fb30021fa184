"""What a stranger meets around the code: files are small, forms and workflows hold, links lead somewhere."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from trove_classifiers import classifiers

import ncbench

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PRE_COMMIT = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
LIMIT = 250 * 1024  # bytes, as in the hook check-added-large-files
RESULTS = "docs/results/"
LARGE: dict[str, str] = {}  # path: why this file has to be larger


def tracked():
    """Paths of all files that git has, and their sizes in bytes."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout")
    names = [name for name in listed.stdout.split("\0") if name]
    return {name: (ROOT / name).stat().st_size for name in names if (ROOT / name).is_file()}


def too_large(files):
    return {name: size for name, size in files.items() if size > LIMIT and name not in LARGE}


def test_no_file_outside_the_records_is_large():
    assert too_large({name: size for name, size in tracked().items() if not name.startswith(RESULTS)}) == {}
    assert set(LARGE) <= set(tracked())


def test_the_records_are_light():
    records = {name: size for name, size in tracked().items() if name.startswith(RESULTS)}
    assert too_large(records) == {}
    assert sum(records.values()) < 8 * 10**6


def test_the_hook_has_the_same_limit():
    hooks = {hook["id"]: hook for repository in PRE_COMMIT["repos"] for hook in repository["hooks"]}
    assert hooks["check-added-large-files"]["args"] == [f"--maxkb={LIMIT // 1024}"]


def test_local_hooks_run_tools_of_the_lint_group():
    (local,) = [repository for repository in PRE_COMMIT["repos"] if repository["repo"] == "local"]
    installed = {Requirement(line).name for line in PROJECT["dependency-groups"]["lint"]} | {"lint-imports"}
    checks = makefile()["check"]
    for hook in local["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/")
        assert command.split()[0] in installed
        assert command in checks  # the hook checks what `make check` does


def makefile():
    """The recipe of every target, without its variables."""
    text = (ROOT / "Makefile").read_text()
    rules = re.findall(r"^([a-z][a-z-]*):[^\n]*\n((?:\t[^\n]*\n)*)", text, re.M)
    return {target: recipe.replace("$(BIN)/", "") for target, recipe in rules}


def test_every_target_is_phony():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    assert sorted(phony[1].split()) == sorted(makefile())


def steps(path):
    """Every step of a workflow, with the matrix entries of its job."""
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {}).get("include", [])
        yield from ((step, matrix) for step in job["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_commands_that_there_are(path):
    content = yaml.safe_load(path.read_text())
    assert {"push", "pull_request"} <= set(content[True])  # YAML 1.1 reads the key `on` as true
    assert content["permissions"] == {"contents": "read"}
    ran = []
    for step, _ in steps(path):
        assert ("uses" in step) != ("run" in step)
        for line in step.get("run", "").splitlines():
            words = shlex.split(line)
            if words[0] == "make":
                assert words[1] in makefile()
            ran += words
    assert ran
    for word in ran:
        if re.fullmatch(r"[\w./-]+\.(txt|py|sh|toml)", word) and word != "versions.txt":
            assert (ROOT / word).exists(), word


def test_the_workflows_are_the_ones_a_contributor_expects():
    assert [path.stem for path in WORKFLOWS] == ["docs", "lint", "tests", "wheel"]


def test_tests_run_on_the_oldest_and_the_newest_python_and_torch():
    path = ROOT / ".github" / "workflows" / "tests.yml"
    (matrix,) = {str(matrix): matrix for _, matrix in steps(path) if matrix}.values()
    supported = [
        Version(name.rsplit(" ", 1)[-1])
        for name in PROJECT["project"]["classifiers"]
        if "3 :: Only" not in name and "Python :: 3." in name
    ]
    assert {Version(entry["python"]) for entry in matrix} == {min(supported), max(supported)}
    assert PROJECT["project"]["requires-python"] == f">={min(supported)}"
    floors = {Requirement(line).name: Requirement(line).specifier for line in PROJECT["project"]["dependencies"]}
    for package in ("torch", "torchvision"):
        (floor,) = (bound for bound in floors[package] if bound.operator == ">=")
        assert f"{package}=={floor.version}.*" in path.read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_has_what_the_tracker_asks_for(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    names = [element["id"] for element in form["body"]]
    assert len(set(names)) == len(names)
    for element in form["body"]:
        assert element["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert element["attributes"]["label"]
        assert ("options" in element["attributes"]) == (element["type"] in ("dropdown", "checkboxes"))
    assert any(element.get("validations", {}).get("required") for element in form["body"])


def test_there_is_a_form_for_each_kind_of_issue():
    assert [path.stem for path in FORMS] == ["bug", "new_paper", "wrong_number"]
    assert yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml").read_text()) == {
        "blank_issues_enabled": False
    }
    template = (ROOT / ".github" / "pull_request_template.md").read_text()
    assert "make check test" in template


def links(path):
    """The targets of the links and images in a Markdown file that are no addresses of the network."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [unquote(target) for target in targets if not re.match(r"[a-z]+:", target)]


def headings(path):
    """The anchors of a Markdown file's headings."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_documents_link_to_what_is_there():
    broken = []
    for name in tracked():
        if name.endswith(".md"):
            for target in links(ROOT / name):
                file, _, anchor = target.partition("#")
                to = (ROOT / name).parent / file if file else ROOT / name
                if not to.exists() or (anchor and to.suffix == ".md" and anchor not in headings(to)):
                    broken.append((name, target))
    assert broken == []


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md", "README.md"])
def test_a_document_names_make_targets_that_there_are(document):
    named = re.findall(r"^make ([a-z -]+?)(?:\s+#.*)?$|`make ([a-z -]+)`", (ROOT / document).read_text(), re.M)
    assert {target for line in named for target in " ".join(line).split()} <= set(makefile())


def test_contributing_names_every_room():
    rooms = {path.parent.name for path in (ROOT / "ncbench").glob("*/__init__.py")}
    table = set(re.findall(r"^\| `(\w+)/` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.M))
    assert table == rooms


def test_contributing_names_files_that_there_are():
    text = "".join((ROOT / page).read_text() for page in ("CONTRIBUTING.md", "docs/adding.md"))
    named = set(re.findall(r"`((?:ncbench|tests|docs|scripts|conf)/[\w/]+(?:\.\w+|/))`", text))
    assert named
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()] == []


def test_the_examples_of_yaml_can_be_read():
    examples = re.findall(r"^ *```yaml\n(.*?)```", (ROOT / "docs" / "adding.md").read_text(), re.M | re.S)
    assert len(examples) == 4
    assert all(isinstance(yaml.safe_load(example), dict) for example in examples)


def test_the_changelog_is_dated_and_the_citation_names_its_newest_release():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "[Unreleased]"
    releases = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", heading) for heading in headings[1:]]
    assert all(releases)
    versions = [(Version(release[1]), release[2]) for release in releases]
    assert versions == sorted(versions, reverse=True)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (Version(citation["version"]), str(citation["date-released"])) == versions[0]


def test_the_metadata_are_those_that_an_index_accepts():
    project = PROJECT["project"]
    assert set(project["classifiers"]) <= classifiers
    assert "version" in project["dynamic"]
    assert Version(PROJECT["tool"]["hatch"]["version"]["fallback-version"]) < Version("0.1.0")
    assert Version(ncbench.__version__)
    assert all(len(label) <= 32 and address.startswith("https://") for label, address in project["urls"].items())


def test_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().split()
    pins = {re.sub(r"[-_.]+", "-", name): Version(version) for name, version in (line.split("==") for line in lines)}
    assert lines == sorted(lines, key=lambda line: line.split("==")[0])
    groups = PROJECT["dependency-groups"]
    needed = [
        *PROJECT["project"]["dependencies"],
        *groups["test"],
        *groups["lint"],
        *groups["site"],
        *PROJECT["build-system"]["requires"],
    ]
    for requirement in map(Requirement, needed):
        assert pins[requirement.name.lower()] in requirement.specifier, requirement


def test_coverage_counts_rooms_that_there_are():
    assert PROJECT["tool"]["coverage"]["run"]["branch"] is True
    sources = PROJECT["tool"]["coverage"]["run"]["source"]
    rooms = ("core", "theory", "analysis", "training", "records", "sweep", "report")
    assert sources == [f"ncbench/{room}" for room in rooms]
    assert all((ROOT / source).is_dir() for source in sources)
