"""docs/faults/wrong_inputs.md: its counts are those of the tables in tests/bad_input, and none has become smaller."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLES = TESTS / "bad_input"
PAGE = (TESTS.parent / "docs" / "faults" / "wrong_inputs.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if ".txt" in line]
GROUPS = [row for row in ROWS if len(row) == 5 and row[2].isdigit()]


def tried(tables):
    """The number of lines in these tables; those of `other_commands` are told apart by their first words."""
    files, _, words = tables.partition(": ")
    lines = [line for file in files.split(", ") for line in (TABLES / file).read_text().splitlines()]
    return sum(not words or line.split()[0] in words.split(", ") for line in lines)


def test_every_group_has_as_many_lines_as_the_page_says_and_no_fewer_than_at_first():
    assert {tables: int(now) for _, tables, _, _, now in GROUPS} == {row[1]: tried(row[1]) for row in GROUPS}
    assert all(int(now) >= int(first) >= int(right) for _, _, first, right, now in GROUPS)


def test_the_sums_are_those_of_the_groups_and_of_all_tables():
    first, right, now = (sum(int(row[column]) for row in GROUPS) for column in (2, 3, 4))
    assert f"| together | | {first} | {right} | {now} |" in PAGE
    assert now == sum(len(table.read_text().splitlines()) for table in TABLES.glob("*.txt")) >= 300
    assert f"The {now} lines that are tried" in PAGE
    answered = f"{right} were answered as they should be and {first - right} were not"
    assert f"{first} lines were tried, of which {answered}" in PAGE
    assert f"Now all {now} are" in PAGE


def test_the_page_counts_its_situations():
    """A row of a situation ends with a test in backticks."""
    situations = re.findall(r"^\| [^\n]* \| [^\n]* \| `[^`]+` \|$", PAGE, re.MULTILINE)
    assert f"the {len(situations)} situations" in PAGE
