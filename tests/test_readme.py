"""The README's table of experiments and the committed index tell the truth about the committed records."""

import json
import re
from pathlib import Path

import pytest

from ncbench.records.variations import ROBUSTNESS, ROBUSTNESS_PICTURE, read_varied
from ncbench.records.verified import VERIFIED
from ncbench.report.pages.index import read_tables, write_index
from ncbench.report.verdicts.settle import FAILS, HOLDS, NOT_OURS, NOT_THEIRS
from ncbench.run.compose import compose_jobs, experiments

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
RECORDS = {path.parent.relative_to(RESULTS).as_posix(): path.parent for path in RESULTS.rglob("claims.json")}


def infos(name):
    return [json.loads(path.read_text()) for path in sorted(RECORDS[name].rglob("run.json"))]


def rows():
    """(name, hash, seconds, machine) of every row of the table."""
    found = []
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        link = re.fullmatch(r"\[`([\w/]+)`\]\(docs/results/([\w/]+)\)", cells[0])
        if link:
            found.append((link[2], *cells[-3:]))
    return found


def test_the_table_has_eight_rows_and_the_index_every_record():
    names = [name for name, *_ in rows()]
    assert len(names) == len(set(names)) == 8
    assert set(names) <= set(RECORDS)
    index = (RESULTS / "README.md").read_text()
    assert [name for name in RECORDS if f"]({'./' + name})" not in index] == []


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_record_is_of_finished_runs_of_a_commit(name):
    for record in infos(name):
        assert record["status"] == "done"
        assert record["git"]["dirty"] is False


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_is_of_its_record(row):
    name, hashes, wall, machine = row
    records = infos(name)
    known = {record["config_hash"][:10] for record in records}
    shown = set(re.findall(r"`(\w{10})`", hashes))
    more = re.search(r"and (\d+) more", hashes)
    assert shown <= known
    assert len(shown) + int(more[1] if more else 0) == len(known)
    assert wall == f"{sum(record['wall_seconds'] for record in records):.0f} s"
    device = records[0]["device"]
    assert machine == f"{device['threads']} of {device['cores']} cores, {device['name']}"


def test_a_record_is_light_and_complete():
    """Verdicts, one configuration, the series of the claims and one figure; whole reports are in the archive.

    Where settings were varied, the findings and their picture.
    """
    files = {"README.md", "claims.json", "config.yaml", "summary.csv", "figure.png"}
    for name, folder in RECORDS.items():
        varied = {ROBUSTNESS, ROBUSTNESS_PICTURE} if (folder / ROBUSTNESS).exists() else set()
        verified = {VERIFIED} if (folder / VERIFIED).exists() else set()
        kept = files | varied | verified
        assert kept <= {path.name for path in folder.iterdir()} <= kept | {"run.json", "runs"}, name
        assert {path.name for path in folder.rglob("*") if path.is_file()} == kept | {"run.json"}, name
    manifest = json.loads((RESULTS / "MANIFEST.json").read_text())
    packed = {run["config_hash"] for run in manifest["runs"].values()}
    without = {name for name in RECORDS if not {info["config_hash"] for info in infos(name)} <= packed}
    assert without == set(manifest["records_without_runs"])


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_claims_and_expectations_are_those_that_the_record_was_judged_by(name):
    """A claim, a threshold or an `expect:` cannot change without a record made in the same change."""
    if name not in experiments():
        pytest.skip("a run with overrides: its claims are those of the experiment it varies")
    (job, *_) = compose_jobs([f"+experiment={name}"], multirun=False)
    (judged,) = json.loads((RECORDS[name] / "claims.json").read_text())["experiments"]
    assert judged["reproduces"] == job.values["reproduces"]
    stated = {key: claim for key, claim in job.values["claims"].items() if claim is not None}
    recorded = {claim["name"]: claim for claim in judged["claims"]}
    assert set(recorded) == set(stated)
    for key, claim in stated.items():
        assert {word: recorded[key][word] for word in claim} == claim
        assert recorded[key]["outcome"] == claim.get("expect", recorded[key]["outcome"]), key


def test_varied_settings_are_of_the_experiment_that_is_recorded():
    """Findings of another configuration than the record's would be read by nobody and shown to everybody."""
    for name, folder in RECORDS.items():
        varied = read_varied(folder)
        if varied is not None:
            assert set(varied.experiment_hashes) == {info["config_hash"] for info in infos(name)}, name
            same = [other.factor for other in varied.variations if set(other.hashes) & set(varied.experiment_hashes)]
            assert set(same) <= {""}, name  # the experiment itself, where it has no more seeds


def test_what_is_said_against_a_paper_was_looked_at_in_more_than_one_setting():
    """Nothing departs from what the paper gives, and where it leaves something open, that was varied."""
    against = 0
    for table in read_tables(RESULTS, RESULTS)[0]:
        for claim in table.claims:
            failing = [found for found in claim.findings if found.outcome == FAILS and not found.departs]
            if claim.settled.verdict == NOT_OURS:
                assert claim.claim.open, claim.name
                assert {found.factor for found in failing} - {""}, claim.name
            if claim.settled.verdict in (NOT_OURS, NOT_THEIRS):
                assert [found for found in failing if not found.varied], claim.name
                assert not [found for found in claim.findings if found.outcome == HOLDS], claim.name
                against += 1
    text = (RESULTS / "paper_claims.md").read_text()
    assert text.count(f" {NOT_OURS} |") + text.count(f" {NOT_THEIRS} |") == against


def test_the_index_is_made_of_the_records(tmp_path):
    write_index(RESULTS, tmp_path)
    text = (tmp_path / "README.md").read_text()
    for name in RECORDS:
        assert f"results/{name})" in text
    strip = re.compile(r"\]\([^)]*\)|href=\"[^\"#]*\"")  # links are relative to where the index stands
    for file in ("README.md", "index.html", "paper_claims.md"):
        assert strip.sub("", (tmp_path / file).read_text()) == strip.sub("", (RESULTS / file).read_text())


def test_no_record_names_a_folder_of_the_machine_it_was_made_on():
    for path in RESULTS.rglob("*.*"):
        if path.suffix in (".json", ".yaml", ".csv", ".html", ".md"):
            assert not re.search(r"[=\"' ]/(tmp|home|root|work|mnt|Users)/", path.read_text()), path


def test_the_claims_of_a_record_stand_once_in_the_index():
    text = (RESULTS / "index.html").read_text()
    cells = {name: [cell.split("</div>")[0] for cell in text.split(f'<a href="./{name}">')[1:]] for name in RECORDS}
    assert {name: sum("<details>" in cell for cell in of) for name, of in cells.items()} == dict.fromkeys(RECORDS, 1)
    assert max(map(len, cells.values())) > 1
    assert all("<br>" in cell for of in cells.values() for cell in of[1:])
