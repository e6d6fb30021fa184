"""docs/faults: every situation of the tables has an outcome, and the test that is named for it exists."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGES = sorted(page for page in (TESTS.parent / "docs" / "faults").glob("*.md") if page.name != "README.md")
HEAD = re.compile(r"\| (?:source \| )?situation \| what happens \| test \|")


def rows(page):
    """The cells of each row in the page's tables of situations, the test last."""
    cells = []
    inside = False
    for line in page.read_text().splitlines():
        if HEAD.fullmatch(line):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            cells.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return cells


def in_table(name, line, happens):
    """Whether a table of wrong inputs tries this line and expects what happens; `...` stands for the rest of either."""
    cases = [case.split(" -> ", 1) for case in (TESTS / "bad_input" / f"{name}.txt").read_text().splitlines()]
    begins, said = line.removesuffix("..."), happens.strip("`")
    return any(
        (tried == line or (begins != line and tried.startswith(begins)))
        and (said.startswith(message) or message.startswith(said.partition("...")[0]))
        for tried, message in cases
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_situation_has_an_outcome_and_its_test_is_there(page, collected_tests):
    """A case in brackets is looked for among the collected tests; where its file was not collected, its function is."""
    files = {name.partition("::")[0] for name in collected_tests}
    for *_, happens, named in rows(page):
        assert happens not in ("", "-"), f"no outcome: {named}"
        for test in re.findall(r"`([^`]+\.py::[^`]+)`", named):
            file, _, function = test.partition("::")
            if (TESTS / file).is_file() and file not in files:
                assert f"def {function.partition('[')[0]}(" in (TESTS / file).read_text(), test
            else:
                assert test in collected_tests or any(name.startswith(f"{test}[") for name in collected_tests), test
        for table, line in re.findall(r"`bad_input/(\w+)\.txt: ([^`]+)`", named):
            assert in_table(table, line, happens), f"{line}: not in the table, or {happens} is not what stands there"
        assert named == "-" or "`" in named, f"{page.name} names no test: {happens}"


def test_the_index_counts_the_rows_of_every_page():
    index = (TESTS.parent / "docs" / "faults" / "README.md").read_text()
    counted = dict(re.findall(r"^\| \[[^]]+\]\((\w+\.md)\) \| (\d+) \|", index, re.MULTILINE))
    assert counted == {page.name: str(len(rows(page))) for page in PAGES}


def test_every_page_says_its_own_number():
    for page in PAGES:
        opening = page.read_text().partition("| situation |")[0]
        assert re.search(rf"\b{len(rows(page))} situations", " ".join(opening.split())), page.name
