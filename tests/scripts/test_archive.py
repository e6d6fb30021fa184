"""The archive of a release: the same folders give the same bytes, and the manifest tells another archive."""

import hashlib
import json
import os
import tarfile

import archive
import pytest


def write(run, status="done", text="1\n"):
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": "fig", "config_hash": "ab" * 32, "status": status}))
    (run / "table.csv").write_text(text)
    (run / ".lock").write_text("process 1\n")
    (run / "checkpoints").mkdir()
    for name in ("last.ckpt", "previous.ckpt"):
        (run / "checkpoints" / name).write_bytes(b"weights")
    return run


def test_the_same_folders_give_the_same_archive(tmp_path):
    write(tmp_path / "a" / "paper" / "fig")
    write(tmp_path / "b" / "paper" / "fig")
    for path in (tmp_path / "b").rglob("*"):
        os.utime(path, (1, 1))
    first, second = (archive.pack(tmp_path / name, tmp_path / f"{name}.tar.gz") for name in ("a", "b"))
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert first["sha256"] == second["sha256"] == hashlib.sha256((tmp_path / "a.tar.gz").read_bytes()).hexdigest()
    assert first["runs"] == {"paper/fig": {"name": "fig", "config_hash": "ab" * 32}}
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert tar.getnames() == [f"paper/fig/{name}" for name in ("checkpoints/last.ckpt", "run.json", "table.csv")]
        assert tar.extractfile("paper/fig/table.csv").read() == b"1\n"


def test_an_archive_of_checkpoints_holds_what_measuring_needs_and_no_more(tmp_path):
    run = write(tmp_path / "runs" / "fig" / "ab")
    for name in ("config.yaml", "checkpoints/checksums.json", "../claims.json", "../table.csv"):
        (run / name).write_text("{}")
    found = archive.pack(tmp_path / "runs", tmp_path / "small.tar.gz", archive.OF_CHECKPOINTS)
    assert found["files"] == 5
    with tarfile.open(tmp_path / "small.tar.gz") as tar:
        assert tar.getnames() == [
            f"fig/{name}"
            for name in (
                "ab/checkpoints/checksums.json",
                "ab/checkpoints/last.ckpt",
                "ab/config.yaml",
                "ab/run.json",
                "claims.json",
            )
        ]


def test_the_manifest_tells_another_archive(tmp_path, capsys, monkeypatch):
    write(tmp_path / "runs" / "fig")
    manifest, target = tmp_path / "MANIFEST.json", tmp_path / "records.tar.gz"

    def command(*words):
        monkeypatch.setattr("sys.argv", ["archive.py", *map(str, words), "--manifest", str(manifest)])
        return archive.main()

    assert command(tmp_path / "runs", "--out", target) == 0
    assert command("--check", target) == 0
    (tmp_path / "runs" / "fig" / "table.csv").write_text("2\n")
    archive.pack(tmp_path / "runs", target)
    assert command("--check", target) == 1
    assert "the manifest has" in capsys.readouterr().out


def test_records_whose_runs_are_elsewhere_are_named(tmp_path):
    for name, digest in (("here", "ab"), ("elsewhere", "cd")):
        (tmp_path / name / "runs" / "1").mkdir(parents=True)
        (tmp_path / name / "claims.json").write_text("{}")
        (tmp_path / name / "runs" / "1" / "run.json").write_text(json.dumps({"config_hash": digest * 32}))
    manifest = {"runs": {"here/1": {"name": "fig", "config_hash": "ab" * 32}}}
    assert archive.records_without_runs(manifest, tmp_path) == ["elsewhere"]


@pytest.mark.parametrize(("status", "message"), [("interrupted", "its status is interrupted"), (None, "holds no run")])
def test_what_is_not_finished_is_refused(tmp_path, status, message):
    if status:
        write(tmp_path / "runs" / "fig", status)
    with pytest.raises(ValueError, match=message):
        archive.pack(tmp_path / "runs", tmp_path / "records.tar.gz")
