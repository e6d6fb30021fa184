"""A checkpoint that somebody else has made, with code in it: no command that opens it runs the code."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from ncbench import load_run, train
from ncbench.measure.__main__ import main as measure
from ncbench.records.manifest import file_digest

TINY = ["+experiment=digits_mlp", "trainer.max_epochs=1", "dataset.per_class=10", "trainer.progress=false"]


class Bomb:
    """Pickled, it makes a file when it is opened."""

    def __reduce__(self):
        return Path.touch, (Path("OPENED"),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged") / "run"
    assert train.main([*TINY, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained, tmp_path / "run")


def forge(run, kind, *, listed):
    """Both checkpoints with a bomb inside; `listed`: checksums.json has theirs."""
    folder = run / "checkpoints"
    for path in folder.glob("*.ckpt"):
        if kind == "archive":
            torch.save({**torch.load(path, weights_only=True), "bomb": Bomb()}, path)
        else:
            path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    if listed:
        kept = json.loads((folder / "checksums.json").read_text())
        names = ("last.ckpt", "previous.ckpt")
        digests = [file_digest(folder / name) for name in names if (folder / name).exists()]
        (folder / "checksums.json").write_text(json.dumps(kept | {"sha256": digests}))


def test_the_bomb_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bomb()))
    assert Path("OPENED").exists()


def resumed(run):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"status": "interrupted"}))
    return train.main([*TINY, f"hydra.run.dir={run}"])


def loaded(run):
    with pytest.raises(ValueError, match=r"last\.ckpt|checkpoints"):
        load_run(run)


COMMANDS = {
    "measure": (lambda run: measure([str(run)]), 2),
    "measure of the file": (lambda run: measure([str(run / "checkpoints" / "last.ckpt")]), 2),
    "load_run": (loaded, None),
    "resume": (resumed, 1),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["archive", "pickle"])
@pytest.mark.parametrize("listed", [False, True], ids=["unlisted", "listed"])
def test_no_code_of_a_checkpoint_is_run(command, kind, listed, run, capsys):
    forge(run, kind, listed=listed)
    opens, status = COMMANDS[command]
    assert opens(run) == status
    said = capsys.readouterr().err
    assert said.count("\n") == (0 if status is None else 1)
    assert said.startswith("ncbench") or status is None
    assert not Path("OPENED").exists()
