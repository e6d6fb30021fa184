"""The small files of a run folder: a bit that is another is seen, and no kill while one is written condemns the run."""

import json
import os
import shutil

import pytest

from ncbench.records import proven_files
from ncbench.records.errors import BadRecordsError, DamagedError
from ncbench.records.finished import check_finished, check_records
from ncbench.records.folder import read_config, write_config
from ncbench.records.load import load_measures, load_references, load_replicas
from ncbench.records.manifest import _own_digest, file_digest, read_small_files
from ncbench.records.proven_files import PROVEN_FILES, check_small_files, proven_yaml, write_proven
from ncbench.records.settings import find_settings
from ncbench.records.sync_claims import update_claims
from ncbench.records.writer import RecordWriter
from ncbench.report.__main__ import main as report
from ncbench.report.verdicts.judge import judge
from ncbench.sweep.__main__ import main as sweep
from tests.helpers.kills import killed_at
from tests.helpers.run_folders import write_values

CONFIG, REPLICAS, REFERENCES, OVERRIDES = PROVEN_FILES


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    run = tmp_path_factory.mktemp("proven") / "run"
    claim = {"check": "share_below", "reference": "dnc", "at_least": 0.5, "statement": "x", "source": "self_test"}
    write_values(run, {"loss": [0.5, 0.6]}, {"share": claim}, lines={"dnc": 0.7}, overrides=("seed=1",))
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    RecordWriter(run, []).flush()
    return run


@pytest.fixture
def run(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "run")


def flip(path):
    """Another bit where the file stays what it is called: in a letter or a digit of it."""
    content = bytearray(path.read_bytes())
    at = max(place for place, byte in enumerate(content) if chr(byte).isalnum())
    content[at] ^= 1
    path.write_bytes(content)


def said_by(command):
    """A command that says it on stderr, as a reader that raises it."""

    def read(run, capsys):
        capsys.readouterr()
        assert command(run) == 2
        raise DamagedError(capsys.readouterr().err.strip().partition(": ")[2])

    return read


READERS = {
    CONFIG: {
        "settings": lambda run, _: find_settings(run),
        "claims": lambda run, _: judge(run),
        "configuration": lambda run, _: read_config(run),
    },
    REPLICAS: {"replicas": lambda run, _: load_replicas(run)},
    REFERENCES: {"references": lambda run, _: load_references(run)},
    OVERRIDES: {"claims": lambda run, _: judge(run)},
}
OF_ALL = {
    "already done": lambda run, _: check_finished(run),
    "load_run": lambda run, _: check_records(run),
    "report": said_by(lambda run: report([str(run), "--check"])),
    "rerun": said_by(lambda run: sweep(["rerun", str(run)])),
    "verify": said_by(lambda run: sweep(["verify", str(run)])),
}


@pytest.mark.parametrize("name", PROVEN_FILES)
def test_another_bit_is_found_by_every_reader(run, name, capsys):
    flip(run / name)
    for reader in (READERS[name] | OF_ALL).values():
        with pytest.raises(DamagedError) as error:
            reader(run, capsys)
        said = str(error.value)
        assert said.startswith(f"{run / name}: is damaged (its checksum is another); put a whole copy of it back, or, ")
        assert "\n" not in said
    (run / "manifest.json").unlink()  # as the line says
    check_records(run)


@pytest.mark.parametrize("name", PROVEN_FILES)
@pytest.mark.parametrize("kind", ["pipe", "endless", "large"])
def test_what_is_no_file_is_refused_at_once(run, name, kind):
    (run / name).unlink()
    said = rf"{name} is no regular file"
    if kind == "pipe":
        os.mkfifo(run / name)
    elif kind == "endless":
        (run / name).symlink_to("/dev/zero")
    else:
        (run / name).touch()
        os.truncate(run / name, 64 * 2**20 + 1)  # of which nothing lies on the disk
        said = rf"{name} has more than (4|64) MB"
    for read in (check_records, *(lambda run, of=of: of(run, None) for of in READERS[name].values())):
        with pytest.raises(BadRecordsError, match=said):
            read(run)
    write_proven(run, name, "[]")  # what stood there is replaced, and becomes no whole file
    check_small_files(run)
    assert len(read_small_files(run)[name]) == 1


def test_no_digest_waits_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "epoch_1.ckpt")
    with pytest.raises(BadRecordsError, match="is no regular file"):
        file_digest(tmp_path / "epoch_1.ckpt")


@pytest.mark.parametrize("name", [CONFIG, REPLICAS, REFERENCES])
def test_one_that_is_gone_is_found_too(run, name):
    (run / name).unlink()
    with pytest.raises(DamagedError, match=f"{name}: is missing"):
        check_records(run)
    for reader in READERS[name].values():
        with pytest.raises(DamagedError, match=f"{name}: is missing; put a whole copy of it back"):
            reader(run, None)


def test_a_copy_without_hidden_files_is_a_whole_run(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    assert not (copy / OVERRIDES).exists()
    check_finished(copy)
    judge(copy)
    assert report([str(copy), "--check"]) == 0
    (copy / ".hydra").write_text("a file in the folder's place")
    check_finished(copy)


FORGED = {
    "a number": {CONFIG: 5},
    "numbers": {CONFIG: [5]},
    "a text": {CONFIG: "5"},
    "null": {CONFIG: None},
    "a list": [CONFIG],
    "no mapping": 5,
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_list_is_named_in_one_line(run, forged):
    path = run / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(
        json.dumps({**content, "small_files": {"sha256": _own_digest(FORGED[forged]), "files": FORGED[forged]}})
    )
    for read in (read_config, check_finished, load_measures):
        with pytest.raises(
            DamagedError, match=r"manifest\.json: is damaged \(no manifest has this form\); put a whole"
        ):
            read(run)


@pytest.mark.parametrize("key", ["bytes", "sha256", "rows", "measurements"])
def test_a_forged_entry_of_a_part_is_named_in_one_line(run, key):
    path = run / "manifest.json"
    content = json.loads(path.read_text())
    for entry in content["parts"].values():
        entry[key] = [1]
    path.write_text(json.dumps({**content, "sha256": _own_digest(content["parts"])}))
    with pytest.raises(DamagedError, match=r"manifest\.json: is damaged \(no manifest has this form\)"):
        load_measures(run)


def test_the_list_itself_is_proven(run):
    text = (run / "manifest.json").read_text()
    digest = read_small_files(run)[REPLICAS][0]
    (run / "manifest.json").write_text(text.replace(digest, "0" * 64))
    with pytest.raises(DamagedError, match=r"manifest\.json: is damaged \(its own checksum is another\)"):
        load_replicas(run)


def test_earlier_manifests_have_no_such_list_and_earlier_versions_read_this_one(run):
    path = run / "manifest.json"
    content = json.loads(path.read_text())
    assert content["version"] == 1
    assert content["sha256"] == _own_digest(content["parts"])  # all that an earlier version looks at
    del content["small_files"]
    path.write_text(json.dumps(content))
    flip(run / REPLICAS)
    check_finished(run)  # nothing proves it
    assert len(load_replicas(run)) == 2
    assert read_small_files(run) == {}
    RecordWriter(run, []).flush()
    assert set(read_small_files(run)) == set(PROVEN_FILES)
    flip(run / REPLICAS)
    with pytest.raises(DamagedError):
        load_replicas(run)


@pytest.mark.parametrize("earlier", [False, True], ids=["listed", "not listed yet"])
def test_a_kill_at_any_moment_of_writing_condemns_nothing(recorded, tmp_path, monkeypatch, earlier):
    """Before every change of the disk, among them the one between the manifest and the file."""
    moment, ended = 0, False
    while not ended:
        run = shutil.copytree(recorded, tmp_path / str(moment))
        if earlier:
            content = json.loads((run / "manifest.json").read_text())
            del content["small_files"]
            (run / "manifest.json").write_text(json.dumps(content))
        before = read_config(run)
        there = (run / OVERRIDES).is_file()

        def command(run=run):
            update_claims(run, {"claims": {}}, ["+experiment=x", "hydra.job.chdir=true"])

        ended = killed_at(monkeypatch, moment, command, more=("open",))
        check_finished(run)
        assert read_config(run) in (before, {**before, "claims": {}})
        command()  # again, and another one
        assert (proven_yaml(run, OVERRIDES) == ["+experiment=x"]) == there
        update_claims(run, {"claims": None})
        check_finished(run)
        assert read_config(run)["claims"] is None
        assert len(read_small_files(run)[CONFIG]) <= 2
        moment += 1
    assert moment > 6


def test_who_reads_between_the_manifest_and_the_file_looks_again(run, monkeypatch):
    real, calls = proven_files.read_small_files, []

    def written_meanwhile(folder):
        found = real(folder)
        if not calls:
            calls.append(1)
            write_config(run, {**content, "name": "another"})
        return found

    content = read_config(run)
    monkeypatch.setattr(proven_files, "read_small_files", written_meanwhile)
    assert read_config(run)["name"] == "another"
    assert calls


def test_what_is_damaged_does_not_become_whole_by_being_written_again(run):
    whole = read_small_files(run)[REPLICAS]
    flip(run / REPLICAS)
    damaged = (run / REPLICAS).read_bytes()
    write_proven(run, REPLICAS, '[{"replica": 0, "seed": 5}]')
    check_small_files(run)
    assert len(read_small_files(run)[REPLICAS]) == 1
    (run / REPLICAS).write_bytes(damaged)
    with pytest.raises(DamagedError):
        check_small_files(run)
    assert whole not in read_small_files(run)[REPLICAS]


def test_where_the_manifest_is_damaged_the_file_is_written_and_the_manifest_left(run):
    (run / "manifest.json").write_text("{")
    write_config(run, {"name": "x"})
    assert (run / "manifest.json").read_text() == "{"
    for read in (read_config, load_measures):
        with pytest.raises(DamagedError, match=r"manifest\.json: is damaged"):
            read(run)
