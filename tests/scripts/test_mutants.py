"""scripts/mutants.py: bugs that fit the code, tests that are there, and a small project in which one bug survives."""

import re
from pathlib import Path

import mutants
import pytest
import yaml

ROOT = Path(mutants.ROOT)
KNOWN = mutants.read(mutants.SCRIPTS / "mutants.yaml")
ROOMS = {"core/", "theory/", "records/", "training/", "sweep/", "report/verdicts/"}


def test_the_text_of_every_bug_is_in_its_file_once():
    assert len(KNOWN) >= 30
    assert {room for room in ROOMS if any(mutant.file.startswith(f"ncbench/{room}") for mutant in KNOWN)} == ROOMS
    for mutant in KNOWN:
        compile(mutants.planted(ROOT, mutant), mutant.file, "exec")


def test_the_tests_that_have_to_catch_them_are_there():
    for mutant in KNOWN:
        for test in mutant.tests:
            file, _, function = test.partition("::")
            assert f"def {function}(" in (ROOT / file).read_text(), f"{mutant.name}: there is no {test}"


def test_the_page_has_every_bug_and_none_survived():
    page = (ROOT / "docs" / "testing.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| .* \| `([^`]+)`::<br>`(\w+)` \|$", page, re.MULTILINE)
    assert [(name, f"ncbench/{file}") for name, file, *_ in listed] == [(known.name, known.file) for known in KNOWN]
    for known, (*_, file, function) in zip(KNOWN, listed, strict=True):
        assert f"tests/{file}::{function}" in known.tests, known.name


SMALL = {
    "small.py": "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n",
    "tests/test_small.py": (
        "import small\n\n\ndef test_double():\n    assert small.double(3) == 6\n\n\n"
        "def test_plants():\n    text = open(small.__file__).read()\n"
        "    count = text.count('x / 2')\n"
        "    assert count == 1, f'the text to plant a bug in occurs {count} times in small, not once'\n"
    ),
}
CAUGHT = {"old": "2 * x", "new": "3 * x", "why": "three times as much", "tests": ["tests/test_small.py::test_double"]}
SURVIVES = {"old": "x / 2", "new": "x / 3", "why": "a third", "tests": ["tests/test_small.py"]}


@pytest.fixture
def command(tmp_path):
    """Runs the script on a project of one file; returns its exit status."""
    root = tmp_path / "project"
    (root / "tests").mkdir(parents=True)
    for name, text in SMALL.items():
        (root / name).write_text(text)

    def run(table, *words):
        (tmp_path / "table.yaml").write_text(yaml.safe_dump({"small.py": table}, sort_keys=False))
        return mutants.main(["--root", str(root), "--table", str(tmp_path / "table.yaml"), *words])

    return run


def test_a_bug_that_is_caught_and_one_that_survives(command, tmp_path, capsys):
    """A test that only misses the text for a bug of its own has not caught anything."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{mutants.BEGIN}\nold\n{mutants.END}\nafter\n")
    assert command({"more": CAUGHT, "less": SURVIVES}, "--page", str(page)) == 1
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("2 passed in ")
    assert [line.split()[1::3] for line in lines[:2]] == [["more", "test_small.py::test_double"], ["less", "SURVIVED"]]
    assert lines[2:] == ["1 of 2 caught", "survived: less"]
    assert page.read_text().splitlines() == [
        "before",
        mutants.BEGIN,
        "",
        "| bug | in | what would be wrong | caught by |",
        "|---|---|---|---|",
        "| `more` | `small.py` | three times as much | `test_small.py`::<br>`test_double` |",
        "| `less` | `small.py` | a third | `SURVIVED` |",
        "",
        mutants.END,
        "after",
    ]


@pytest.mark.parametrize(
    ("table", "words", "ended", "message"),
    [
        ({"more": CAUGHT | {"old": "4 * x"}}, [], (0, 1), "more: its text occurs 0 times in small.py, not once: 4 * x"),
        ({"more": CAUGHT | {"old": "x"}}, [], (0, 1), "more: its text occurs 4 times in small.py, not once: x"),
        ({"more": CAUGHT | {"new": "2 * x"}}, [], (0, 1), "more: must have a name of its own, change something and"),
        ({"more": CAUGHT}, ["less"], (0, 1), "less: no bug of "),
        ({"more": CAUGHT}, ["more", "--page", "x.md"], (0, 1), "--page is for all bugs"),
        ({"more": CAUGHT}, [], (0, 2), "more: its tests did not run (pytest ended with 2)"),
        ({"more": CAUGHT}, [], (1, 1), "the tests fail without a bug (pytest ended with 1)"),
        ({"more": CAUGHT}, [], (0, 1), None),
    ],
)
def test_what_does_not_fit_is_said(command, capsys, monkeypatch, table, words, ended, message):
    """`ended`: how pytest ends without the bug, and with it."""
    printed = "FAILED tests/test_small.py::test_double - assert 9 == 6\n1 failed"
    monkeypatch.setattr(mutants.Tests, "run", lambda self, tests, *options: (ended[bool(options)], printed))
    assert command(table, *words) == (0 if message is None else 2)
    said = capsys.readouterr().err
    assert said.startswith(f"mutants: {message}") if message else not said
