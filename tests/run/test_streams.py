"""Where a command's lines go nowhere, and where its user has no home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ncbench import train
from ncbench._cli import printing
from ncbench.run import listing
from ncbench.run.guard import guarded


@pytest.fixture
def stream(monkeypatch):
    def give(handle):
        monkeypatch.setattr(sys, "stdout", os.fdopen(handle, "w"))

    return give


def test_a_reader_that_has_seen_enough_is_told_nothing(stream, monkeypatch, capsys):
    """python -m ncbench.train --list | head -1"""
    monkeypatch.setattr(listing, "list_experiments", lambda *_, **__: "experiment\n" * 10_000)
    reader, writer = os.pipe()
    os.close(reader)
    stream(writer)
    assert train.main(["--list"]) == 1
    sys.stdout.close()  # as when the interpreter ends
    assert capsys.readouterr().err == ""


def test_lines_that_cannot_be_written_are_said_once(stream, capsys):
    stream(os.open("/dev/full", os.O_WRONLY))
    assert printing(lambda argv: print("done") or 0)([]) == 1
    sys.stdout.close()
    said = "ncbench: what is printed could not be written (No space left on device)\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("seed=x: must be a number"), 2, "seed=x: must be a number"),
        (OSError(28, "No space left on device", "a/sweep.json"), 1, "failed: a/sweep.json: No space left on device"),
        (KeyboardInterrupt(), 1, "interrupted"),
    ],
)
def test_what_ends_a_command_is_one_line(error, status, line, capsys):
    def fails():
        raise error

    assert guarded(fails) == status
    assert capsys.readouterr() == ("", f"ncbench: {line}\n")


def test_a_child_of_a_command_without_a_standard_output_has_a_null_device(monkeypatch, tmp_path):
    """After `>&-`: a file that the child opens does not get the descriptor of its standard output."""
    child = "import os, sys; os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); os.write(1, b'printed')"

    def main(argv):
        return subprocess.run([sys.executable, "-c", child, tmp_path / "file"], check=False).returncode

    kept = os.dup(1)
    monkeypatch.setattr(sys, "stdout", None)
    os.close(1)
    try:
        assert printing(main)([]) == 0
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("overrides", [["dataset=mnist", "dataset.download=false"], ["logger=wandb"]])
def test_a_user_without_a_home(overrides, monkeypatch, tmp_path, capsys):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(Path, "expanduser", lambda self: no_home() if str(self).startswith("~") else self)
    for name in ("HOME", "NETRC", "WANDB_API_KEY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    status = train.main(["+experiment=digits_mlp", *overrides, f"hydra.run.dir={tmp_path / 'run'}"])
    said = capsys.readouterr()
    assert (status, said.err.count("\n"), said.err[:9]) == (2, 1, "ncbench: "), said.err
    assert list(tmp_path.iterdir()) == []
