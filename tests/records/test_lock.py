"""The lock of a run folder, also on a file system that has no locks."""

import errno
import fcntl

import pytest
from filelock import Timeout

from ncbench.records.folder import OccupiedError, RunFolder
from ncbench.records.lock import SOFT_LOCK, take_lock


@pytest.fixture(params=["ENOSYS", "ENOLCK", "ENOTSUP"])
def no_locks(request, monkeypatch):
    number = getattr(errno, request.param)

    def flock(handle, kind):
        raise OSError(number, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_process_has_it(tmp_path):
    lock = take_lock(tmp_path)
    with pytest.raises(Timeout):
        take_lock(tmp_path)
    lock.release()
    take_lock(tmp_path).release()


@pytest.mark.usefixtures("no_locks")
def test_a_file_stands_in_and_a_line_says_so(tmp_path, capsys):
    with RunFolder(tmp_path):
        said = capsys.readouterr().err
        assert said.startswith(f"ncbench: {tmp_path}: this file system has no locks, so the file ")
        assert said.count("\n") == 1
        assert RunFolder(tmp_path).is_held()
        with pytest.raises(OccupiedError, match="a run is going on in this folder"), RunFolder(tmp_path):
            pass
    assert not RunFolder(tmp_path).is_held()
    with RunFolder(tmp_path):
        pass
    assert capsys.readouterr().err == ""  # it is said once for a folder
    assert not (tmp_path / SOFT_LOCK).exists()


def test_another_fault_of_the_file_system_is_not_hidden(tmp_path, monkeypatch):
    def flock(handle, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"):
        take_lock(tmp_path)
