"""The programs of docs/attach.md, run as they stand."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from ncbench.report import load_measures, load_spectra

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "attach.md").read_text()
PROGRAMS = {name: text for text, name in re.findall(r"```python\n(# (\w+)\n.*?)```", PAGE, re.DOTALL)}
NC = {"nc1", "equinorm", "equiangularity", "self_duality", "ncc_mismatch"}


def run(name, folder, monkeypatch):
    """The names that the program has at its end; it runs in an empty folder."""
    monkeypatch.chdir(folder)
    names = {"__name__": "program"}
    exec(compile(PROGRAMS[name], f"docs/attach.md: {name}", "exec"), names)
    return names


def test_every_program_is_tried():
    assert list(PROGRAMS) == ["lightning", "torch", "transformers", "timm"]
    assert PAGE.count("```python") == len(PROGRAMS)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Lightning's advice on this machine's cores and loggers
def test_lightning(tmp_path, monkeypatch, capsys):
    callback = run("lightning", tmp_path, monkeypatch)["callback"]
    found = load_measures(tmp_path / "runs" / "mine")
    assert set(found.measure) >= NC
    assert sorted(found.epoch.unique()) == [0, 1, 2, 3, 4, 5]
    assert len(callback.table()) == len(found)
    assert json.loads((tmp_path / "runs" / "mine" / "run.json").read_text())["name"] == "Classifier"
    assert "nc1" in capsys.readouterr().out
    assert (tmp_path / "nc.png").stat().st_size > 10_000
    logged = pd.concat(
        [pd.read_csv(path) for path in tmp_path.glob("lightning_logs/*/metrics.csv")] or [pd.DataFrame()]
    )
    assert logged.empty or {"loss", "nc/2/weight/self_duality", "nc/accuracy", "epoch", "nc/epoch"} <= set(logged)


def test_torch(tmp_path, monkeypatch):
    run("torch", tmp_path, monkeypatch)
    folder = tmp_path / "runs" / "loop"
    assert set(load_measures(folder).measure) >= NC
    assert sorted(load_spectra(folder).step.unique()) == [0, 1, 2, 3]
    assert json.loads((folder / "run.json").read_text())["status"] == "done"
    for name in ("nc", "simplex", "spectra"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # other people's
def test_transformers(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="transformers is no requirement of ncbench")
    pytest.importorskip("accelerate", reason="accelerate is no requirement of ncbench")
    run("transformers", tmp_path, monkeypatch)
    found = load_measures(tmp_path / "runs" / "bert")
    assert set(found.measure) >= NC
    assert sorted(set(zip(found.step, found.epoch, strict=True))) == [(8, 1.0), (16, 2.0)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_timm(tmp_path, monkeypatch, capsys):
    pytest.importorskip("timm", reason="timm is no requirement of ncbench")
    table = run("timm", tmp_path, monkeypatch)["table"]
    assert set(table.measure) >= NC
    assert {"nc1", "self_duality", "ncc_mismatch"} <= set(capsys.readouterr().out.split())
