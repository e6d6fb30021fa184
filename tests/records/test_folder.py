"""The lock of a run folder: one process at a time, and nothing left of a process that was killed."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from ncbench.records.folder import RunFolder, RunState

HOLDS = """
import sys, time
from ncbench.records.folder import RunFolder
with RunFolder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_live_lock_names_its_holder(tmp_path):
    with RunFolder(tmp_path / "run"):
        holder = rf"a run is going on in this folder \(process {os.getpid()} on {socket.gethostname()}\)"
        with pytest.raises(ValueError, match=holder):
            RunFolder(tmp_path / "run").state("0" * 64)
        with pytest.raises(ValueError, match=holder), RunFolder(tmp_path / "run"):
            pass
    assert RunFolder(tmp_path / "run").state("0" * 64) is RunState.NEW


def test_looking_at_a_folder_makes_nothing(tmp_path):
    assert RunFolder(tmp_path / "run").state("0" * 64) is RunState.NEW
    assert not (tmp_path / "run").exists()


def test_a_killed_process_loses_its_lock_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=rf"\(process {process.pid} on "):
        RunFolder(tmp_path).state("0" * 64)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert RunFolder(tmp_path).state("0" * 64) is RunState.NEW
    with RunFolder(tmp_path) as run:
        assert run.state("0" * 64) is RunState.NEW


def test_another_hash_is_another_configuration(tmp_path):
    run = RunFolder(tmp_path)
    run.update(status="done", config_hash="a" * 64)
    assert run.info()["schema_version"] == 2
    assert run.state("a" * 64) is RunState.DONE
    with pytest.raises(ValueError, match=r"holds a run of another configuration \(aaaaaaaaaa, not bbbbbbbbbb\)"):
        run.state("b" * 64)


def test_a_kill_while_run_json_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    def dies(handle):
        raise KeyboardInterrupt

    run = RunFolder(tmp_path)
    run.update(status="running", config_hash="a" * 64)
    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        run.update(status="done")
    assert run.info()["status"] == "running"
