"""What is around a run: a home that cannot be written to, no terminal, ASCII streams, no memory; and absurd rates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ncbench
from ncbench import train
from ncbench.run import build, session

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=3", "trainer.threads=1"]
DIGITS = ["+experiment=digits_mlp", "dataset.per_class=12", "dataset.batch_size=40", "trainer.max_epochs=3"]
DIGITS += ["measure.points=3", "trainer.progress=false", "trainer.checkpoint_seconds=0"]
COMMANDS = """
import sys
from ncbench import train
from ncbench.report.__main__ import main as report
run, words = sys.argv[1], sys.argv[2:]
sys.exit(train.main([*words, f"hydra.run.dir={run}"]) or report([run]))
"""
# Folders that cannot be made, as a file lies there: root may write into what is only forbidden.
FOLDERS = (
    "HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "MPLCONFIGDIR",
    "WANDB_DIR",
    "WANDB_CONFIG_DIR",
)
LEFT_OUT = ("TERM", "LANG", "LC_CTYPE", "PYTHONUTF8", "PYTHONHASHSEED", "USER", "LOGNAME", "OMP_NUM_THREADS", *FOLDERS)


def test_a_hostile_environment_changes_no_number(tmp_path):
    """No folder for caches and settings, no terminal, ASCII streams in the locale C, a missing TMPDIR, all at once."""
    (tmp_path / "file").write_text("")
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    environment |= {name: str(tmp_path / "file" / "home") for name in FOLDERS}
    environment |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "TMPDIR": str(tmp_path / "none")}
    environment |= {"PYTHONPATH": str(Path(ncbench.__file__).parents[1]), "COLUMNS": "1"}
    command = [sys.executable, "-c", COMMANDS, str(tmp_path / "hostile"), *TINY]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert train.main([*TINY, "trainer.progress=false", f"hydra.run.dir={tmp_path / 'friendly'}"]) == 0
    hostile, friendly = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("hostile", "friendly"))
    assert hostile["digests"] == friendly["digests"]
    assert hostile["final"] == friendly["final"]
    assert (tmp_path / "hostile" / "report.html").is_file()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "friendly", "hostile"]


def no_memory(*_, **__):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to "
                       "allocate 80000000000 bytes. Error code 12 (Cannot allocate memory)")  # fmt: skip


def no_memory_of_python(*_, **__):
    raise MemoryError


def no_memory_of_cuda(*_, **__):
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB")


ENDS = {
    "torch": (no_memory, " (80000000000 bytes at once)"),
    "Python": (no_memory_of_python, ""),
    "CUDA": (no_memory_of_cuda, " (20.00 GiB at once)"),
}


@pytest.mark.parametrize(("ends", "size"), ENDS.values(), ids=ENDS)
def test_no_memory_at_the_start_is_refused_and_nothing_is_left(ends, size, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "as_run_data", ends)
    assert train.main([*DIGITS, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err == f"ncbench: dataset: needs more memory than this machine has{size}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ends", "size"), ENDS.values(), ids=ENDS)
def test_no_memory_during_the_training_is_one_line_and_the_run_goes_on_later(ends, size, tmp_path, monkeypatch, capsys):
    command = [*DIGITS, f"hydra.run.dir={tmp_path / 'run'}"]
    real, calls = session.RunSession._record, []

    def record(self, *measured):
        real(self, *measured)
        calls.append(measured)
        if len(calls) == 2:
            ends()

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", record)
        assert train.main(command) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"ncbench: failed: the training needs more memory than this machine has{size}; log in ")
    assert "\n" not in said
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["status"], info["error"]) == (
        "failed",
        f"the training needs more memory than this machine has{size}",
    )
    assert train.main(command) == 0


DIVERGED = "diverged: the loss is "
TOO_LARGE = "a rate or a decay of the configuration is larger than any number of trainer.precision"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("optimizer.lr=1e6", DIVERGED),
        ("optimizer.lr=1e30", DIVERGED),
        ("model.init_scale=1e300", DIVERGED),
        ("optimizer.lr=1e300", TOO_LARGE),
        ("objective.weight_decay=1e300", TOO_LARGE),
        ("schedule.eta_min=1e300", TOO_LARGE),
    ],
    ids=["lr=1e6", "lr=1e30", "init_scale=1e300", "lr=1e300", "weight_decay=1e300", "eta_min=1e300"],
)
def test_an_absurd_value_fails_in_one_line(given, why, tmp_path, capsys):
    assert train.main([*DIGITS, "references=[]", given, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"ncbench: failed: {why}")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
