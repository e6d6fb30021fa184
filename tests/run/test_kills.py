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

# Forks of the process of the tests, which other tests may have given threads: run these files on their own.
pytestmark = pytest.mark.slow

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


def killed_after(most, holder, name):
    real, calls = getattr(holder, name), []

    def planted(self, *args):
        if len(calls) == most:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(args)
        return real(self, *args)

    setattr(holder, name, planted)
    SaveLast.WITHIN = 0.0  # a machine may be fast: as if every batch took a second


@pytest.mark.parametrize(
    ("kind", "most", "holder", "name"),
    [("batches", 2, ClassifierModule, "training_step"), ("ensemble", 3, session.RunSession, "_record")],
    ids=["batches", "ensemble"],
)
def test_killed_sooner_than_an_epoch_it_gets_on(kind, most, holder, name, left_alone, tmp_path):
    """Without a warning, after two batches of three in every process, or after three measured steps."""
    whole, folder = left_alone(kind), tmp_path / "run"
    steps = []
    while len(steps) < 20 and run(kind, folder, lambda: killed_after(most, holder, name)) == -signal.SIGKILL:
        steps.append(max(map(int, RunFolder(folder).info().get("digests") or {"0": ""})))
    assert 3 < len(steps) < 20
    assert steps == sorted(steps)
    assert differences(whole, folder) == []


@pytest.mark.usefixtures("unrendered")
def test_a_report_that_is_killed_before_a_file_has_its_name(tmp_path, monkeypatch):
    """The older file stays whole, and repeating the command gives the bytes of a report that was left alone."""
    empty = catalogue.save(None, tmp_path, "none")

    def save(figure, folder, name):
        write_bytes(folder / f"{name}.svg", empty.encode())
        return empty

    monkeypatch.setattr(catalogue, "save", save)
    folder = write_run(tmp_path / "run", [0, 1])
    assert report_command([str(folder)]) == 0
    paths = [folder / name for name in ("figures/loss.svg", "table.csv", "report.html", "claims.json")]
    whole = [path.read_bytes() for path in paths]

    def plant(name):
        real = os.replace

        def replace(source, target):
            if os.path.basename(target) == name:
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)

        os.replace = replace

    for path in paths:
        path.write_bytes(b"{}")
        process = Process(
            [str(folder)], tmp_path / "said", prepare=lambda path=path: plant(path.name), main=report_command
        )
        assert process.wait() == -signal.SIGKILL
        assert path.read_bytes() == b"{}"
    assert report_command([str(folder)]) == 0
    assert [path.read_bytes() for path in paths] == whole
