"""scripts/chaos.py: two kills of a small run, compared with one that was left alone; what differs is seen."""

import random
import shutil
import sys

import pytest
import torch
from chaos import Chaos
from chaos_compare import differences

from ncbench.records.folder import RunFolder

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=300", "measure.points=8"]


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    run = Chaos("replica", tmp_path_factory.mktemp("chaos"), random.Random(0), TINY)
    assert run.wrong == []
    return run


def test_two_kills_leave_no_difference(chaos, capsys):
    chaos.disturb("window")
    chaos.disturb("kill")
    assert chaos.folder.exists()
    chaos.settle()
    assert chaos.wrong == []
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "replica: compared: no difference"
    assert len(said) == 3


def of_checkpoint(folder, change):
    path = folder / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        (lambda run: of_checkpoint(run, lambda x: x["state_dict"].popitem()), "last.ckpt: .state_dict."),
        (lambda run: of_checkpoint(run, lambda x: x["loops"]["fit_loop"].clear()), "last.ckpt: .loops.fit_loop."),
        (lambda run: sorted((run / "grams").iterdir())[-1].unlink(), "grams: "),
        (lambda run: RunFolder(run).update(steps=299), "run.json: steps"),
        (lambda run: (run / "replicas.json").write_text("[]"), "replicas.json"),
        (lambda run: (run / "checkpoints" / ".last.ckpt.tmp").touch(), "checkpoints/.last.ckpt.tmp is left"),
    ],
)
def test_a_difference_is_seen(damage, seen, chaos, tmp_path):
    shutil.copytree(chaos.whole, tmp_path / "run")
    assert differences(chaos.whole, tmp_path / "run") == []
    damage(tmp_path / "run")
    assert any(seen in what for what in differences(chaos.whole, tmp_path / "run"))


def test_what_python_says_is_wrong(chaos):
    process = chaos.start(chaos.whole, lambda: sys.modules.pop("ncbench.run.compose"))
    chaos.expect(process, (3,), "planted")
    assert "replica: planted: exit status" in chaos.wrong.pop()
