"""Several commands on one folder, and what a lock file may look like: one trains, the others say so in one line."""

import os
import shutil
import time

import pytest
from chaos_compare import differences
from warm_start import Process

from ncbench import train
from ncbench.records.folder import RunFolder
from ncbench.report.__main__ import main as report_command
from ncbench.run import session
from tests.helpers.small_runs import execute, overrides_of

# Forks of the process of the tests, which other tests may have given threads: run these files on their own.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, left_alone):
    """By kind, a run that was killed with a checkpoint behind it."""
    killed = {}

    def folder(kind):
        if kind not in killed:
            killed[kind] = tmp_path_factory.mktemp("killed") / kind
            left_alone(kind)
            said = killed[kind].with_suffix(".txt")
            assert Process([], said, prepare=kill_later, main=lambda _: execute(kind, killed[kind])).wait() == -9
            assert (killed[kind] / "checkpoints" / "last.ckpt").exists()
        return killed[kind]

    return folder


def kill_later():
    real, records = session.RunSession._record, []

    def record(self, *args):
        real(self, *args)
        records.append(args)
        if len(records) == 4:
            os.kill(os.getpid(), 9)

    session.RunSession._record = record


LEFT = {
    "nothing in it": b"",
    "a process that is dead": b"process 999999 on here\n",
    "a process of another program": b"process 1 on here\n",
    "a process of another host": b"process 12 on elsewhere.example\n",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("left", LEFT)
def test_what_a_lock_file_says_decides_nothing(left, interrupted, left_alone, tmp_path):
    """The lock is the system's: a file that its owner has left does not keep anybody out, whatever it says."""
    shutil.copytree(interrupted("batches"), tmp_path / "run")
    for name in (".lock", ".holder"):
        (tmp_path / "run" / name).write_bytes(LEFT[left])
    assert execute("batches", tmp_path / "run") == 0
    assert differences(left_alone("batches"), tmp_path / "run") == []


@pytest.mark.parametrize("name", [".lock", ".holder"])
def test_a_folder_in_the_place_of_a_file(name, interrupted, tmp_path, capsys):
    shutil.copytree(interrupted("batches"), tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / name).mkdir()
    assert execute("batches", tmp_path / "run") == 2
    said = capsys.readouterr().err
    refused = f"is no folder that can be written to ({name}: Is a directory)"
    assert said == f"ncbench: hydra.run.dir={tmp_path}/run: {refused}\n"


@pytest.mark.parametrize("kind", ["ensemble", "batches"])
@pytest.mark.parametrize("resumed", [True, False], ids=["resumed", "new"])
def test_six_at_once(resumed, kind, interrupted, left_alone, tmp_path):
    """The one that has the folder trains on when the other five have been refused."""
    folder = tmp_path / "run"
    if resumed:
        shutil.copytree(interrupted(kind), folder)
    gate, opened = os.pipe()

    def wait_for_the_others():
        real = session.RunSession.write_inputs

        def write_inputs(self, *args):
            os.read(gate, 1)
            real(self, *args)

        session.RunSession.write_inputs = write_inputs

    texts = [tmp_path / f"said-{number}" for number in range(6)]
    started = [Process([], text, prepare=wait_for_the_others, main=lambda _: execute(kind, folder)) for text in texts]
    until = time.monotonic() + 300
    while sum(process.poll() is not None for process in started) < 5:
        assert time.monotonic() < until
        time.sleep(0.01)
    os.write(opened, b"x")
    assert sorted(process.wait() for process in started) == [0, 2, 2, 2, 2, 2]
    for process in started:
        if process.status:
            # Which process that is, is for a moment the one that had the folder before.
            assert process.said.startswith(f"ncbench: hydra.run.dir={folder}: a run is going on in this folder (")
            assert process.said.count("\n") == 1
    assert differences(left_alone(kind), folder) == []
    for handle in (gate, opened):
        os.close(handle)


@pytest.mark.parametrize("began", [True, False], ids=["training", "starting"])
@pytest.mark.parametrize(
    "more",
    [["hydra.run.dir={}"], ["-m", "hydra.sweep.dir={}/..", "hydra.sweep.subdir=run", "hydra/launcher=basic"]],
    ids=["one run", "job of a grid"],
)
def test_a_folder_that_is_held(more, began, tmp_path, capsys):
    """Also before its owner has written anything, and for a job of a grid: the owner keeps its folder and its lock."""
    with RunFolder(tmp_path / "run") as run:
        if began:
            run.update(status="running", config_hash="a" * 64)
        assert train.main([*overrides_of("batches"), *(word.format(run.path) for word in more)]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if "a run is going on in this folder" in line]
        assert len(said) == 1
        assert run.is_held()
        run.check_owner()
        assert run.info().get("status") == ("running" if began else None)


@pytest.mark.usefixtures("unrendered")
def test_a_report_while_it_is_held(interrupted, tmp_path, capsys):
    shutil.copytree(interrupted("batches"), tmp_path / "run")
    with RunFolder(tmp_path / "run") as run:
        assert report_command([str(run.path)]) == 0
        assert capsys.readouterr().err == ""
        assert "running" in (run.path / "report.html").read_text()


@pytest.mark.parametrize("of", ["files", "record"])
def test_a_clock_that_is_set_back(of, interrupted, left_alone, tmp_path):
    """Files of the future, and a start after the end: times are recorded, and decide nothing."""
    folder = tmp_path / "run"
    shutil.copytree(interrupted("batches"), folder)
    if of == "record":
        RunFolder(folder).update(started="2999-01-01T00:00:00+00:00")
    for path in folder.rglob("*"):
        os.utime(path, (4e9, 4e9))
    assert execute("batches", folder) == 0
    info = RunFolder(folder).info()
    assert (info["finished"] < info["started"]) == (of == "record")
    assert differences(left_alone("batches"), folder) == []
