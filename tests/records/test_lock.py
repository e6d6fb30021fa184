"""The lock of a run folder: one owner, nothing left behind, also where the file system has no locks."""

import errno
import fcntl
import os
import shutil
import signal
import threading
import time

import pytest
from filelock import Timeout

from ncbench.records.folder import OccupiedError, RunFolder
from ncbench.records.lock import SOFT_LOCK, FolderLock, LostFolderError, is_locked
from ncbench.records.schema import TABLES


@pytest.fixture(params=["ENOSYS", "ENOLCK", "ENOTSUP"])
def no_locks(request, monkeypatch):
    number = getattr(errno, request.param)

    def flock(handle, kind):
        raise OSError(number, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_process_has_it(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(Timeout):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


@pytest.mark.usefixtures("no_locks")
def test_a_file_stands_in_and_a_line_says_so(tmp_path, capsys):
    folder = tmp_path / "run"
    with RunFolder(folder) as run:
        said = capsys.readouterr().err
        assert said.startswith(f"ncbench: {folder}: this file system has no locks, so the file ")
        assert said.count("\n") == 1
        assert RunFolder(folder).is_held()
        with pytest.raises(OccupiedError, match="a run is going on in this folder"), RunFolder(folder):
            pass
        run.check_owner()
        run.update(status="done", config_hash="a" * 64)
    assert not RunFolder(folder).is_held()
    assert RunFolder(folder).state("a" * 64).name == "DONE"
    with RunFolder(folder):
        pass
    assert capsys.readouterr().err == ""  # it is said once for a folder
    assert not (folder / SOFT_LOCK).exists()


def test_another_fault_of_the_file_system_is_not_hidden(tmp_path, monkeypatch):
    def flock(handle, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(ValueError, match="is no folder that can be written to .Input/output error"),
        RunFolder(tmp_path),
    ):
        pass


def test_a_disk_that_is_full_is_no_wrong_input(tmp_path, monkeypatch):
    def write_text(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ncbench.records.folder.write_text", write_text)
    with pytest.raises(OSError, match="No space left"), RunFolder(tmp_path / "a" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_is_refused_leaves_nothing(tmp_path):
    with RunFolder(tmp_path / "a" / "b" / "run") as run:
        for table in TABLES:
            (run.path / table).mkdir()
    assert list(tmp_path.iterdir()) == []
    with RunFolder(tmp_path):  # a folder that was there stays
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / ".lock").touch()  # by a start that was killed
    with RunFolder(tmp_path / "left"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with RunFolder(tmp_path / "mine"):
        pass
    assert {entry.name for entry in (tmp_path / "mine").iterdir()} == {"file", ".lock", ".holder"}


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (os.mkdir, "Is a directory"),
        (lambda path: os.symlink(path.parent.parent / "target", path), "Too many levels of symbolic links"),
        (lambda path: os.symlink(path.parent.parent / "nothing", path), "Too many levels of symbolic links"),
    ],
)
def test_what_stands_in_its_place_is_not_touched(plant, why, tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "run").mkdir()
    plant(tmp_path / "run" / ".lock")
    assert not is_locked(tmp_path / "run")
    with pytest.raises(ValueError, match=rf"hydra.run.dir={tmp_path}/run: is no folder that can .* \(.lock: {why}\)"):
        RunFolder(tmp_path / "run").__enter__()
    assert (tmp_path / "target").read_text() == "mine"
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == [".lock", "run", "target"]


@pytest.mark.parametrize("folder", ["/dev/null/x", "/etc/passwd", "/proc/x", "/proc/1/x", "{}/a/" + "n" * 300 + "/b"])
def test_where_no_folder_can_be_made(folder, tmp_path):
    folder = folder.format(tmp_path)
    with pytest.raises(ValueError, match=f"hydra.run.dir={folder}: (is no folder that can be written|cannot be read)"):
        RunFolder(folder).state("a" * 64).name, RunFolder(folder).__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "lose", [shutil.rmtree, lambda run: run.rename(f"{run}2"), lambda run: (run / ".lock").unlink()]
)
def test_an_owner_that_has_lost_its_folder_writes_no_more_into_it(lose, tmp_path):
    folder = tmp_path / "run"
    with RunFolder(folder) as run:
        run.update(status="running")
        run.check_owner()
        lose(folder)
        with RunFolder(folder) as other:  # whoever finds it free
            other.update(status="running", of="other")
            with pytest.raises(LostFolderError, match="was moved or deleted while the run was going on, or its .lock"):
                run.update(status="done")
            assert other.info()["of"] == "other"
            assert other.info()["status"] == "running"


def test_what_a_killed_owner_has_left_unfinished_goes(tmp_path):
    (tmp_path / ".hydra").mkdir()
    for left in (".run.json.12-34.tmp", ".hydra/.config.yaml.12-34.tmp", "mine.tmp"):
        (tmp_path / left).touch()
    with RunFolder(tmp_path):
        assert {path.name for path in tmp_path.rglob("*.tmp")} == {"mine.tmp"}


def test_readers_do_not_keep_a_run_from_starting(tmp_path):
    (tmp_path / ".lock").touch()
    handle = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    assert not is_locked(tmp_path)  # two may look at once
    threading.Timer(0.05, lambda: os.close(handle)).start()
    with RunFolder(tmp_path):
        assert is_locked(tmp_path)


def fork(work):
    """The process id of a fork of this process that does some work and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


@pytest.mark.parametrize("recorded", [True, False])
def test_three_starts_at_once_have_one_owner_at_a_time(recorded, tmp_path, monkeypatch):
    """Who finds no run in the folder makes one (`recorded`), or is refused, and its folder goes under the others."""
    monkeypatch.setattr("ncbench.records.lock._PATIENCE", 0.02)
    for number in range(8):
        folder, said = tmp_path / str(number) / "run", tmp_path / f"{number}.txt"
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        go = time.monotonic() + 0.05

        def start(folder=folder, handle=handle, go=go):
            while time.monotonic() < go:
                pass
            try:
                with RunFolder(folder) as run:
                    if run.info():
                        return
                    os.write(handle, b"in ")
                    if recorded:
                        time.sleep(0.03)  # longer than the others wait
                        run.update(status="done")
                    os.write(handle, b"out ")
            except OccupiedError:
                pass
            except BaseException as error:
                os.write(handle, repr(error).encode())

        started = [fork(start) for _ in range(3)]
        for pid in started:
            os.waitpid(pid, 0)
        os.close(handle)
        words = said.read_text().split()
        assert words == ["in", "out"] * (len(words) // 2), words
        assert (len(words) == 2 and (folder / "run.json").exists()) if recorded else not folder.exists()


def test_a_run_that_was_killed_is_called_interrupted_by_its_readers(tmp_path):
    from ncbench.records.runs import load_run_info

    pid = fork(lambda: (RunFolder(tmp_path / "run").__enter__().update(status="running"), signal.pause()))
    while not (tmp_path / "run" / "run.json").exists():
        time.sleep(0.01)
    (info,) = load_run_info(tmp_path).values()
    assert info["status"] == "running"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (info,) = load_run_info(tmp_path).values()
    assert info["status"] == "interrupted"
