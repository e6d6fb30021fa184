"""Folders that cannot be written to, and folders that are taken away from a run: one line, and an exact second try."""

import os
import shutil

import pytest
from chaos_compare import differences

from ncbench import train
from ncbench.measure.__main__ import main as measure_command
from ncbench.records.folder import RunFolder
from ncbench.report.__main__ import main as report_command
from tests.helpers.full_disk import read_only
from tests.helpers.small_runs import execute, overrides_of


@pytest.fixture(scope="module")
def disk(tmp_path_factory, left_alone):
    """A folder with a finished run of its own and one that was interrupted."""
    folder = tmp_path_factory.mktemp("disk") / "mounted"
    shutil.copytree(left_alone("batches"), folder / "done")
    shutil.copytree(left_alone("batches"), folder / "half")
    RunFolder(folder / "half").update(status="interrupted")
    assert report_command([str(folder / "done"), "--check"]) == 1  # so short a run holds no claim
    return folder


TRAIN = overrides_of("batches")
REFUSED = "is no folder that can be written to (.lock: Read-only file system)"
COMMANDS = {
    "resume": (train.main, [*TRAIN, "hydra.run.dir={}/half"], 2, REFUSED),
    "new run": (train.main, [*TRAIN, "hydra.run.dir={}/new"], 2, "nothing can be written in"),
    "finished run": (train.main, [*TRAIN, "hydra.run.dir={}/done"], 0, ""),
    "other claims": (
        train.main,
        [*TRAIN, "claims.dnc1.expect=fails", "hydra.run.dir={}/done"],
        2,
        REFUSED,
    ),
    "sweep": (train.main, ["-m", *TRAIN, "seed=0,1", "hydra.sweep.dir={}/sweep"], 2, "nothing can be written in"),
    "report": (report_command, ["{}/done"], 2, "/done/figures: Read-only file system"),
    "verdicts": (report_command, ["{}/done", "--check"], 2, "/done/claims.json: Read-only file system"),
    "index": (report_command, ["{}", "--index"], 2, "/index.html: Read-only file system"),
    "report elsewhere": (report_command, ["{}/done", "--out", "{}/../elsewhere"], 0, ""),
    "measure": (measure_command, ["{}/done"], 0, ""),
}


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_to_read_only(command, disk, monkeypatch, capsys):
    main, arguments, status, said = COMMANDS[command]
    before = sorted((path, path.stat().st_mtime_ns) for path in disk.rglob("*"))
    with monkeypatch.context() as patch:
        read_only(disk, patch)
        assert main([word.format(disk) for word in arguments]) == status
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == (status > 0), errors
    assert sorted((path, path.stat().st_mtime_ns) for path in disk.rglob("*")) == before


def replaced(run):
    run.rename(f"{run}-moved")
    run.mkdir()


TAKEN = {
    "moved": lambda run: run.rename(f"{run}-moved"),
    "deleted": shutil.rmtree,
    "replaced": replaced,
    "its lock deleted": lambda run: (run / ".lock").unlink(),
}


@pytest.mark.parametrize("kind", ["ensemble", "batches"])
@pytest.mark.parametrize("taken", TAKEN)
def test_a_folder_that_is_taken_away(taken, kind, left_alone, at_record, tmp_path, capsys):
    """In mini-batches just before a checkpoint of the second epoch is kept: that is not saved into a new folder."""
    whole, folder = left_alone(kind), tmp_path / "run"
    assert whole.exists()
    at_record(3, lambda: TAKEN[taken](folder))
    assert execute(kind, folder) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"ncbench: failed: {folder} was moved or deleted while the run was going on, or its .lock was"
    )
    if taken == "its lock deleted":
        assert not (folder / "checkpoints" / "epoch_2.ckpt").exists()
    else:
        assert not folder.exists() or list(folder.iterdir()) == []
    assert execute(kind, folder) == 0
    assert differences(whole, folder) == []


@pytest.mark.parametrize("where", ["/nowhere", "/dev/shm"])
def test_a_temporary_folder_that_is_missing_or_elsewhere(where, left_alone, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", where)
    monkeypatch.setattr("tempfile.tempdir", None)
    assert execute("batches", tmp_path / "run") == 0
    assert differences(left_alone("batches"), tmp_path / "run") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_of_another_user(tmp_path, capsys):
    (tmp_path / "run").mkdir(mode=0o555)
    assert execute("batches", tmp_path / "run") == 2
    assert "is no folder that can be written to (Permission denied)" in capsys.readouterr().err
