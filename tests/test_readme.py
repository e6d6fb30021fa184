"""The README's table of experiments tells the truth about the committed records."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORDS = {path.parent.name: json.loads(path.read_text()) for path in (ROOT / "docs" / "results").glob("*/run.json")}


def rows():
    """(name, hash, seconds, machine) of every row of the table."""
    found = []
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        link = re.fullmatch(r"\[`(\w+)`\]\(docs/results/(\w+)\)", cells[0])
        if link:
            found.append((link[2], *cells[-3:]))
    return found


def test_every_record_has_a_row_and_every_row_a_record():
    assert sorted(name for name, *_ in rows()) == sorted(RECORDS)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_record_is_of_a_finished_run_of_a_commit(name):
    record = RECORDS[name]
    assert record["status"] == "done"
    assert record["git"]["dirty"] is False
    (row,) = [row for row in rows() if row[0] == name]
    assert row[1] == f"`{record['config_hash'][:10]}`"
    assert row[2] == f"{record['wall_seconds']:.0f} s"
    assert row[3] == f"{record['device']['threads']} of {record['device']['cores']} cores, {record['device']['name']}"


def test_no_record_names_a_folder_of_the_machine_it_was_made_on():
    for path in (ROOT / "docs" / "results").rglob("*.*"):
        if path.suffix in (".json", ".yaml", ".csv"):
            assert not re.search(r"[=\"' ]/(tmp|home|root|work|mnt|Users)/", path.read_text()), path
