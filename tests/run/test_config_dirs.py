"""What a folder of `--config-dir` may call: nothing where it is only looked at, anything where it is trained."""

from pathlib import Path

import pytest

from ncbench import train

MODULE = """import pathlib

from hydra.experimental.callback import Callback

pathlib.Path("IMPORTED").touch()


class Told(Callback):
    def __init__(self, **_):
        pathlib.Path("CALLED").touch()


def line(**_):
    pathlib.Path("CALLED").touch()
    return 0.5
"""
FILE = """# @package _global_
defaults: [dufm_k10, _self_]
name: mine
schedule: {steps: 2}
replicate: {seed: 1}
measure: {points: 2}
claims: null
trainer: {progress: false}
"""
ASKS = {
    "a theory line": "references: [{name: x, _target_: theirs_of_config_dir.line}]\n",
    "a callback of Hydra's": "hydra: {callbacks: {x: {_target_: theirs_of_config_dir.Told}}}\n",
}


@pytest.fixture(params=ASKS)
def folder(request, tmp_path, monkeypatch):
    """Files of somebody else's that name code of theirs; the test stands in the folder."""
    (tmp_path / "theirs_of_config_dir.py").write_text(MODULE)
    (tmp_path / "theirs" / "experiment").mkdir(parents=True)
    (tmp_path / "theirs" / "experiment" / "mine.yaml").write_text(FILE + ASKS[request.param])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return ["--config-dir", "theirs", "+experiment=mine"]


@pytest.mark.parametrize("looks", [["--cfg", "job"], ["--cfg", "hydra"], ["--cfg", "all"], ["--list"]], ids=" ".join)
def test_looking_at_it_calls_nothing(folder, looks, capsys):
    assert train.main([*(folder[:2] if looks == ["--list"] else folder), *looks]) == 0
    assert "mine" in capsys.readouterr().out
    assert not Path("IMPORTED").exists()
    assert not Path("CALLED").exists()


def test_training_it_does(folder):
    """As SECURITY.md says: what you type is trusted, and the files that it names."""
    assert train.main([*folder, "-m", "hydra.sweep.dir=sweep", "hydra/launcher=basic"]) == 0
    assert Path("CALLED").exists()
