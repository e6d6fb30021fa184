"""Every kind of damage to a recorded run is found by whoever reads it, in one line that names the file."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncbench.records.compaction import flush, keep_until
from ncbench.records.errors import BadRecordsError, DamagedError
from ncbench.records.finished import check_finished
from ncbench.records.folder import RunFolder
from ncbench.records.load import load_grams, load_measures, load_references, load_replicas, load_run_info, load_spectra
from ncbench.records.parts import parts
from ncbench.records.run_info import read_run_info
from ncbench.report.__main__ import main as report
from ncbench.sweep.compare import compare_tables
from tests.helpers.run_folders import measurement, record, write_run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("damage") / "run", [0, 1])
    record(run, [0, 1], {step: measurement(2, step, grams=step % 4 == 0) for step in range(20)})
    flush(run)  # one part of sixteen measurements and one of four
    record_of_piece = run / "checkpoints" / "last.ckpt"
    record_of_piece.parent.mkdir()
    record_of_piece.write_bytes(b"weights")
    (run / "config.yaml").write_text("name: dufm_k4\n")
    return run


@pytest.fixture
def run(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "run")


def flipped(at):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(at * len(content))] ^= 4
        path.write_bytes(content)

    return damage


def overwritten(path):
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\0" * 200 + content[middle + 200 :])


DAMAGES = {
    "one bit at the beginning": flipped(0.02),
    "one bit in the middle": flipped(0.5),
    "one bit of the footer": flipped(0.97),
    "200 bytes overwritten": overwritten,
    "shortened": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "empty": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
    "another parquet file": lambda path: pq.write_table(pq.read_table(path).slice(1), path),
}
PLACES = [("measures", 0), ("measures", 1), ("spectra", 0), ("grams", 0)]
READERS = {
    "report": load_measures,
    "the page": lambda run: assert_report_is_refused(run),
    "already done": check_finished,
    "resume": lambda run: keep_until(run, 19),
    "rerun": lambda run: compare_tables(run, run),
}


def assert_report_is_refused(run):
    assert report([str(run)]) == 2
    assert not (run / "report.html").exists()
    raise DamagedError("said on stderr")


def test_a_whole_run_is_read(run):
    check_finished(run)
    keep_until(run, 19)
    assert set(load_measures(run)["step"]) == set(range(20))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(("table", "number"), PLACES)
def test_damage_of_a_part_is_found_by_every_reader(run, capsys, damage, table, number):
    path = parts(run, table)[number]
    damage(path)
    for name, read in READERS.items():
        if name == "report":
            read = {"measures": load_measures, "spectra": load_spectra, "grams": load_grams}[table]
        with pytest.raises(DamagedError) as error:
            read(run)
        said = capsys.readouterr().err.strip() if name == "the page" else str(error.value)
        assert "\n" not in said
        assert str(path) in said, name
        assert "is damaged (" in said or "is missing; " in said
        assert said.endswith("put a whole copy of it back, or delete the run's folder and train it again")


@pytest.mark.parametrize("damage", [flipped(0.1), flipped(0.9), overwritten, DAMAGES["shortened"], DAMAGES["empty"]])
def test_a_damaged_manifest_condemns_nothing_but_itself(run, damage):
    damage(run / "manifest.json")
    for read in (load_measures, check_finished, lambda run: keep_until(run, 19), lambda run: compare_tables(run, run)):
        with pytest.raises(DamagedError, match=r"manifest\.json: (is damaged|has version) .*") as error:
            read(run)
        assert len(str(error.value).splitlines()) == 1
    (run / "manifest.json").unlink()
    assert set(load_measures(run)["step"]) == set(range(20))


def test_records_without_a_manifest_are_read_with_a_word_that_nothing_proves_them(run, caplog):
    (run / "manifest.json").unlink()
    check_finished(run)
    keep_until(run, 17)
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "nothing proves that these records are as they were written (no manifest.json)",
        "no manifest.json proves the records up to step 17; from now on one does",
    ]
    assert set(load_measures(run)["step"]) == set(range(18))
    check_finished(run)
    assert len(caplog.messages) == 2
    # Pages have checksums of their own, so that most damage is seen without a manifest too.
    (run / "manifest.json").unlink()
    flipped(0.5)(parts(run, "measures")[0])
    with pytest.raises(DamagedError, match="part-000000000000-000000000015.parquet: is not readable as records"):
        load_measures(run)


def test_a_copy_of_a_part_beside_it_is_named(run):
    part = parts(run, "measures")[1]
    copy = part.with_name(f"{part.stem} (1).parquet")
    shutil.copy(part, copy)
    for read in (load_measures, check_finished, lambda run: keep_until(run, 19)):
        with pytest.raises(DamagedError, match=r"\(1\)\.parquet: is no part of a record .*; move it elsewhere"):
            read(run)


@pytest.mark.parametrize(
    "piece", ["config.yaml", "replicas.json", "references.json", "checkpoints/last.ckpt", "measures"]
)
def test_a_finished_run_that_lacks_a_piece_says_which(run, piece):
    if piece == "measures":
        shutil.rmtree(run / piece)
        (run / "manifest.json").unlink()
    else:
        (run / piece).unlink()
    with pytest.raises(DamagedError, match=f"{run}/{piece}: .* though the run is finished; put a whole copy"):
        check_finished(run)


STRANGE = {
    "empty": "",
    "shortened": '{"status": "do',
    "a list": "[]",
    "nested": '{"a": ' + "[" * 200_000,
    "status": '{"status": 3}',
    "replicas": '{"replicas": 1000000000}',
    "negative replicas": '{"replicas": -5}',
    "replicas of text": '{"replicas": "many"}',
    "final": '{"final": {"loss": {"median": "small"}}}',
    "final of numbers": '{"final": {"loss": 3}}',
    "steps": '{"steps": [1]}',
    "digests": '{"digests": {"x": "abc"}}',
    "rates": '{"learning_rates": {"0": "fast"}}',
    "versions": '{"versions": [1]}',
    "git": '{"git": "abc"}',
    "states": '{"replica_states": {"dead": [{"step": 3}]}}',
    "states of a number": '{"replica_states": {"dead": 3}}',
    "step of a state": '{"replica_states": {"dead": [{"replica": 0, "step": "soon"}]}}',
    "a later version": '{"schema_version": 3}',
    "states beyond": '{"replicas": 2, "replica_states": {"dead": [{"replica": 2}]}}',
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_a_strange_run_json_is_named_by_every_reader(run, text, capsys):
    path = run / "run.json"
    path.write_text(text)
    readers = [load_run_info, read_run_info, lambda run: RunFolder(run).info(), lambda run: RunFolder(run).state("0")]
    for read in readers:
        with pytest.raises(BadRecordsError) as error:
            read(run)
        assert str(error.value).startswith(str(path))
        assert len(str(error.value)) < 250
        assert len(str(error.value).splitlines()) == 1
    assert report([str(run)]) == 2
    assert capsys.readouterr().err.startswith(f"ncbench report: {path}")


def test_a_binary_run_json_and_one_of_no_configuration(run):
    (run / "run.json").write_bytes(b"\xff\xfe\0\1")
    with pytest.raises(BadRecordsError, match=r"run\.json is not UTF-8 text \("):
        RunFolder(run).info()
    (run / "run.json").write_text(json.dumps({"status": "done"}))
    with pytest.raises(ValueError, match=r"run\.json: has no config_hash"):
        RunFolder(run).state("0")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("replicas.json", [{"seed": 1}], "replica=None must be a number from 0 to 999999"),
        ("replicas.json", [{"replica": -5}], "replica=-5 must be a number from 0 to 999999"),
        ("replicas.json", [{"replica": 10**12}], "replica=1000000000000 must be a number from 0 to 999999"),
        ("replicas.json", [{"replica": True}], "replica=True must be a number from 0 to 999999"),
        ("replicas.json", [{"replica": 0, "seed": "a"}], "seed='a' must be a whole number"),
        ("references.json", [{"name": "dnc", "value": "abc"}], "dnc: value='abc' must be a number or null"),
        ("references.json", [{"value": 1.0}], "name=None must be the name of a theory line"),
        ("references.json", [{"name": "dnc", "value": 1, "replicas": 3}], "dnc: replicas=3 must be null or a list"),
    ],
)
def test_strange_replicas_and_references_are_named(run, file, content, said):
    (run / "manifest.json").unlink()
    (run / file).write_text(json.dumps(content))
    with pytest.raises(BadRecordsError) as error:
        (load_replicas if file == "replicas.json" else load_references)(run)
    assert str(error.value).startswith(f"{run / file}: {said}")


def test_rows_that_no_run_writes_are_refused(run):
    (run / "manifest.json").unlink()
    for table, read in (("measures", load_measures), ("grams", load_grams)):
        part = parts(run, table)[0]
        rows = pq.read_table(part)
        for name in ("replica", "value" if table == "measures" else "gram"):
            pq.write_table(rows.drop_columns([name]), part)
            with pytest.raises(BadRecordsError, match=f"{table}"):
                read(run)
        place = rows.column_names.index("replica")
        for replica in (-1, 2**30):
            strange = rows.set_column(place, "replica", pa.array([replica] * len(rows), pa.int32()))
            pq.write_table(strange, part)
            with pytest.raises(BadRecordsError, match=f"{table}: has rows of replica {replica}"):
                read(run)
    place = rows.column_names.index("size")
    pq.write_table(rows.set_column(place, "size", pa.array([7] * len(rows), pa.int16())), part)
    with pytest.raises(BadRecordsError, match="has a matrix whose numbers do not fit its number of rows"):
        load_grams(run)
    with pytest.raises(BadRecordsError, match="steps=.* must be a step"):
        load_measures(run, steps=[10**30])
