"""A disk that fills up, wherever in a run: one line that names the file, and the same command goes on exactly."""

import errno
import os

import pytest
from chaos_compare import differences

from ncbench.records.folder import RunFolder
from ncbench.records.runs import load_run_info
from tests.helpers.full_disk import Disk
from tests.helpers.small_runs import execute


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def continues(kind, folder, left_alone):
    """The same command, once there is room again, ends as the run that was left alone; nothing half written stays."""
    assert execute(kind, folder) == 0
    assert differences(left_alone(kind), folder) == []


CASES = [
    *(("ensemble", "part-*", number) for number in (1, 3, 8, 12, 15)),
    *(("batches", "part-*", number) for number in (3, 8)),
    *((kind, name, 1) for kind in ("ensemble", "batches") for name in ("last.ckpt", "checksums.json", "manifest.json")),
    *(("ensemble", name, 1) for name in ("config.yaml", "replicas.json", "references.json", "overrides.yaml")),
    *(("ensemble", "config.yaml", 2), ("ensemble", "run.json", 2), ("ensemble", "last.ckpt", 2)),
    *(("batches", "epoch_0.ckpt", 1), ("batches", "epoch_2.ckpt", 1)),
]


@pytest.mark.parametrize(("kind", "name", "number"), CASES)
def test_full_from_a_file_on(kind, name, number, disk, left_alone, tmp_path, capsys):
    """Not even the end can be written into run.json: readers see that nobody runs any more."""
    whole, folder = left_alone(kind), tmp_path / "run"
    assert whole.exists()
    disk.fills(name, number)
    assert execute(kind, folder) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ncbench: failed: ")
    assert "No space left on device" in line
    assert str(folder) in line
    assert "run.json could not be written" in line
    assert "Error" not in line
    assert [info["status"] for info in load_run_info(tmp_path).values()] == ["interrupted"]
    disk.free()
    continues(kind, folder, left_alone)


@pytest.mark.parametrize(
    ("kind", "name", "number"),
    [("ensemble", "part-*", 8), ("batches", "last.ckpt", 2), ("batches", "epoch_2.ckpt", 1)],
)
def test_full_for_one_file(kind, name, number, disk, left_alone, tmp_path, capsys):
    """What was half written is removed, which makes room for the word that the run has failed."""
    whole, folder = left_alone(kind), tmp_path / "run"
    assert whole.exists()
    disk.fills(name, number, lasting=False)
    assert execute(kind, folder) == 1
    (line,) = capsys.readouterr().err.splitlines()
    info = RunFolder(folder).info()
    assert info["status"] == "failed"
    assert line.startswith(f"ncbench: failed: {info['error']}")
    assert info["error"].startswith(str(folder))
    assert info["error"].endswith("No space left on device")
    continues(kind, folder, left_alone)


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EFBIG, errno.EIO], ids=["EDQUOT", "EFBIG", "EIO"])
def test_other_words_of_a_disk(number, disk, left_alone, tmp_path, capsys):
    """A quota, a limit on the size of files, a disk that breaks."""
    assert left_alone("batches").exists()
    disk.number = number
    disk.fills("last.ckpt", lasting=False)
    assert execute("batches", tmp_path / "run") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"last.ckpt: {os.strerror(number)}" in line
    assert RunFolder(tmp_path / "run").info()["status"] == "failed"
    continues("batches", tmp_path / "run", left_alone)


@pytest.mark.parametrize("name", [".holder", "run.json"])
def test_full_before_there_is_a_run(name, disk, tmp_path, capsys):
    disk.fills(name)
    assert execute("batches", tmp_path / "a" / "run") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"ncbench: failed: {tmp_path}/a/run/{name}: No space left on device"
    assert list(tmp_path.iterdir()) == []
    disk.free()
    assert execute("batches", tmp_path / "a" / "run") == 0
