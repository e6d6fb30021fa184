"""SIGKILL in every window of what is written, and sooner than an epoch: the run that goes on ends as one left alone."""

import os
import signal

import pyarrow.parquet
import pytest
from chaos import plant_kill
from chaos_compare import differences
from warm_start import Process

from ncbench.records.folder import RunFolder
from ncbench.records.whole_files import write_bytes
from ncbench.report.__main__ import main as report_command
from ncbench.report.pages import catalogue
from ncbench.run import session
from ncbench.training.classifier import ClassifierModule
from ncbench.training.saving import SaveLast
from tests.helpers.run_folders import write_run
from tests.helpers.small_runs import execute

PARQUET = pyarrow.parquet.__name__
WINDOWS = [  # in which the n-th call of a function is broken off; the first eight files are written before training
    ("os", "replace", "before", 3),
    ("torch", "save", "before", 1),
    (PARQUET, "write_table", "before", 3),
    ("os", "replace", "after", 12),
    ("torch", "save", "in", 1),
    (PARQUET, "write_table", "in", 4),
    ("os", "fsync", "before", 14),
    ("torch", "save", "after", 1),
    (PARQUET, "write_table", "after", 2),
    ("os", "fsync", "after", 5),
]


def run(kind, folder, prepare=None):
    """The exit status of a run of this kind in a fork, which prints nothing of Python's."""
    process = Process([], folder.with_suffix(".txt"), prepare=prepare, main=lambda _: execute(kind, folder))
    status = process.wait()
    assert "Traceback" not in process.said
    return status


@pytest.mark.parametrize("kind", ["ensemble", "batches", "threads"])
def test_killed_in_every_window(kind, left_alone, tmp_path):
    """One after the other, so that later ones meet what earlier ones have left."""
    whole, folder = left_alone(kind), tmp_path / "run"
    for module, name, when, number in WINDOWS:
        planted = run(kind, folder, lambda of=(module, name, number, when): plant_kill(*of))
        assert planted == -signal.SIGKILL, (name, when)
    assert run(kind, folder) == 0
    assert differences(whole, folder) == []


def killed_after_two(holder, name):
    real, calls = getattr(holder, name), []

    def planted(self, *args):
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(args)
        return real(self, *args)

    setattr(holder, name, planted)
    SaveLast.WITHIN = 0.0  # a machine may be fast: as if every batch took a second


@pytest.mark.parametrize(
    ("kind", "holder", "name"),
    [("batches", ClassifierModule, "training_step"), ("ensemble", session.RunSession, "_record")],
    ids=["batches", "ensemble"],
)
def test_killed_sooner_than_an_epoch_it_gets_on(kind, holder, name, left_alone, tmp_path):
    """Without a warning, after two batches of three in every process, or after two measured steps."""
    whole, folder = left_alone(kind), tmp_path / "run"
    steps = []
    while len(steps) < 20 and run(kind, folder, lambda: killed_after_two(holder, name)) == -signal.SIGKILL:
        steps.append(max(map(int, RunFolder(folder).info().get("digests") or {"0": ""})))
    assert 3 < len(steps) < 20
    assert steps == sorted(steps)
    assert differences(whole, folder) == []


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("name", ["report.html", "claims.json", "table.csv", "loss.svg"])
def test_a_report_that_is_killed_before_a_file_has_its_name(name, tmp_path, monkeypatch):
    """The older file stays whole, and repeating the command gives the bytes of a report that was left alone."""
    empty = catalogue.save(None, tmp_path, "none")

    def save(figure, folder, name):
        write_bytes(folder / f"{name}.svg", f"{empty}{folder.parent.name}".encode())
        return empty

    monkeypatch.setattr(catalogue, "save", save)
    folder = write_run(tmp_path / "run", [0, 1])
    assert report_command([str(folder)]) == 0
    (path,) = folder.rglob(name)
    whole = path.read_bytes()
    path.write_bytes(b"{}")

    def plant():
        real = os.replace

        def replace(source, target):
            if os.path.basename(target) == name:
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)

        os.replace = replace

    assert Process([str(folder)], tmp_path / "said", prepare=plant, main=report_command).wait() == -signal.SIGKILL
    assert path.read_bytes() == b"{}"
    assert report_command([str(folder)]) == 0
    assert path.read_bytes() == whole
