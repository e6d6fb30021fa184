"""trainer.keep_checkpoints: checkpoints of chosen epochs stay, survive a resume and are measured."""

import json

import pandas as pd
import pytest
import torch

from ncbench import load_run, train
from ncbench.config.identity import differences
from ncbench.measure.__main__ import main as measure
from ncbench.records.checksums import CheckpointError
from ncbench.records.folder import RunFolder
from ncbench.report import load_measures
from ncbench.run.compose import compose_jobs
from ncbench.training import saving
from ncbench.training.checkpoints import AtomicCheckpointIO, check_whole, usable_checkpoint
from ncbench.training.digest import weights_digest

TINY = ["+experiment=digits_mlp", "dataset.per_class=12", "trainer.max_epochs=4", "measure.points=5"]
TINY += ["trainer.progress=false", "trainer.checkpoint_seconds=0"]
KEPT = "trainer.keep_checkpoints=[0,1,4]"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "run"
    assert train.main([*TINY, KEPT, f"hydra.run.dir={folder}"]) == 0
    return folder


def digests_of(run):
    """By step: those of run.json, and of every kept checkpoint by its file."""
    recorded = json.loads((run / "run.json").read_text())["digests"]
    kept = {}
    for path in sorted((run / "checkpoints").glob("epoch_*.ckpt")):
        module, _, _ = load_run(path)
        step = torch.load(path, weights_only=True)["ncbench_step"]
        kept[path.name] = (str(step), weights_digest(module.network))
    return recorded, kept


def test_each_holds_the_weights_of_its_epoch(run):
    """12 x 10 samples in batches of 128: one step an epoch."""
    recorded, kept = digests_of(run)
    assert {name: step for name, (step, _) in kept.items()} == {
        "epoch_0.ckpt": "0",
        "epoch_1.ckpt": "1",
        "epoch_4.ckpt": "4",
    }
    assert all(recorded[step] == digest for step, digest in kept.values())
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {*kept, "last.ckpt", "previous.ckpt", "checksums.json"}


def test_measured_by_the_command(run, tmp_path, capsys):
    for epoch in (0, 1):
        out = tmp_path / "values.csv"
        assert measure([str(run / "checkpoints" / f"epoch_{epoch}.ckpt"), "--csv", str(out)]) == 0
        found = pd.read_csv(out, keep_default_na=False)
        found = found[(found.measure == "loss")].value.astype(float).item()
        recorded = load_measures(run, measures=["loss"], steps=[epoch])
        assert found == pytest.approx(recorded[recorded.split == "train"].value.item(), rel=1e-12)
    capsys.readouterr()


def test_a_damaged_one_is_refused(run, tmp_path, capsys):
    path = run / "checkpoints" / "epoch_1.ckpt"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    try:
        assert measure([str(path)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.endswith("epoch_1.ckpt: is damaged (its checksum is another)")
        path.write_bytes((run / "checkpoints" / "epoch_4.ckpt").read_bytes())  # a whole one in the place of another
        assert measure([str(path)]) == 2
    finally:
        path.write_bytes(whole)
    capsys.readouterr()
    assert measure([str(path)]) == 0
    assert "dnc1" in capsys.readouterr().out


def test_a_resumed_run_keeps_the_same(run, tmp_path, monkeypatch):
    """Stopped between the checkpoint that is kept and last.ckpt, and then once more without a checkpoint of epoch 1."""
    folder, save = tmp_path / "stopped", saving.SaveLast.on_train_epoch_end

    def stops(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            raise KeyboardInterrupt
        save(self, trainer, pl_module)

    with monkeypatch.context() as patch:
        patch.setattr(saving.SaveLast, "on_train_epoch_end", stops)
        assert train.main([*TINY, KEPT, f"hydra.run.dir={folder}"]) == 1
    assert sorted(path.name for path in (folder / "checkpoints").glob("*.ckpt")) == ["epoch_0.ckpt", "epoch_1.ckpt"]
    assert train.main([*TINY, KEPT, f"hydra.run.dir={folder}"]) == 0
    assert digests_of(folder) == digests_of(run)
    for name in ("epoch_1.ckpt", "epoch_4.ckpt", "last.ckpt"):
        (folder / "checkpoints" / name).unlink()
    RunFolder(folder).update(status="running")  # as a kill leaves it; the newest checkpoint is of epoch 3
    assert train.main([*TINY, KEPT, f"hydra.run.dir={folder}"]) == 0
    said = (folder / "ncbench.log").read_text()
    assert "trainer.keep_checkpoints: epoch 1 has passed, so no checkpoint of it is kept" in said
    assert digests_of(folder)[1]["epoch_4.ckpt"] == digests_of(run)[1]["epoch_4.ckpt"]


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_an_epoch_that_is_asked_for_too_late_is_said(tmp_path, monkeypatch, capsys, stopped_after):
    """Stopped at the very end of the epoch or later, resumed with the key; and asked for again when all is done."""
    folder, save = tmp_path / "late", saving.SaveLast.on_train_epoch_end

    def stops(self, trainer, pl_module):
        save(self, trainer, pl_module)
        if trainer.current_epoch + 1 == stopped_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving.SaveLast, "on_train_epoch_end", stops)
        assert train.main([*TINY, f"hydra.run.dir={folder}"]) == 1
    assert train.main([*TINY, KEPT, f"hydra.run.dir={folder}"]) == 0
    said = (folder / "ncbench.log").read_text()
    for epoch in (0, 1):
        assert f"trainer.keep_checkpoints: epoch {epoch} has passed, so no checkpoint of it is kept" in said
    assert (folder / "checkpoints" / "epoch_4.ckpt").exists()
    capsys.readouterr()
    assert train.main([*TINY, KEPT, f"hydra.run.dir={folder}"]) == 0
    first = "already done; trainer.keep_checkpoints: there is no checkpoint of epoch 0, 1: "
    assert capsys.readouterr().out.startswith(first)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.keep_checkpoints=[0,5]"], "trainer.keep_checkpoints=[0, 5]: must be epochs up to trainer.max_ep"),
        (["trainer.keep_checkpoints=[1,0]"], "trainer.keep_checkpoints=[1, 0]: must be increasing epochs >= 0"),
        (["trainer.keep_checkpoints=[1,1]"], "trainer.keep_checkpoints=[1, 1]: must be increasing epochs >= 0"),
        (["trainer.keep_checkpoints=[-1]"], "trainer.keep_checkpoints=[-1]: must be increasing epochs >= 0"),
        (["trainer.keep_checkpoints=3"], "trainer.keep_checkpoints"),
        (["trainer.keep_checkpoints=[a]"], "trainer.keep_checkpoints=['a']: must be a list of whole numbers"),
    ],
)
def test_refused_in_one_line(overrides, message, capsys):
    assert train.main([*TINY, *overrides]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_full_batch_problems_keep_none(capsys):
    assert train.main(["+experiment=dufm_k10", "trainer.keep_checkpoints=[0]"]) == 2
    expected = "trainer.keep_checkpoints=[0]: only networks in mini-batches keep them; full-batch problems keep their"
    assert expected in capsys.readouterr().err


def test_it_is_the_same_run_whatever_it_keeps():
    configs = [compose_jobs([*TINY, *kept], multirun=False)[0].config for kept in ([], [KEPT])]
    assert differences(configs[0]) == differences(configs[1])


class Killed(Exception):
    pass


@pytest.mark.parametrize("moment", range(2))
def test_a_kill_at_every_rename_leaves_the_others_whole(tmp_path, monkeypatch, moment):
    import os

    def save(name, step):
        content = {"ncbench_step": step, "state_dict": {"x": torch.ones(3) * step}}
        AtomicCheckpointIO().save_checkpoint(content, tmp_path / name)

    for name, step in (("epoch_1.ckpt", 1), ("last.ckpt", 1), ("epoch_2.ckpt", 2), ("last.ckpt", 2)):
        save(name, step)
    real, calls = os.replace, []

    def dies(source, target):
        if len(calls) == moment:
            raise Killed
        calls.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(Killed):
        save("epoch_2.ckpt", 3)
    monkeypatch.undo()
    for name in ("epoch_1.ckpt", "epoch_2.ckpt", "last.ckpt", "previous.ckpt"):
        check_whole(tmp_path / name)
    assert usable_checkpoint(tmp_path) == (tmp_path / "last.ckpt", 2)
    assert not list(tmp_path.glob(".*.tmp"))


LOST = {
    "missing": lambda path: path.unlink(),
    "damaged": lambda path: path.write_text('{"sha256": [], "kept": {"epoch_1.ckpt": 3}}'),
    "without it": lambda path: path.write_text('{"sha256": [], "kept": {}}'),
    "of an earlier version": lambda path: path.write_text('{"sha256": ["0"]}'),
}


def saved(folder, *named):
    for name, step in named:
        content = {"ncbench_step": step, "state_dict": {"x": torch.ones(3) * step}}
        AtomicCheckpointIO().save_checkpoint(content, folder / name)


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_without_a_checksum_it_is_said_to_be_unchecked(tmp_path, caplog, lost):
    saved(tmp_path, ("epoch_1.ckpt", 1), ("last.ckpt", 1))
    check_whole(tmp_path / "epoch_1.ckpt")
    assert not caplog.messages
    lost(tmp_path / "checksums.json")
    check_whole(tmp_path / "epoch_1.ckpt")
    (said,) = caplog.messages
    assert said.startswith(f"{tmp_path / 'epoch_1.ckpt'}: is unchecked, it may be damaged ({tmp_path}/checksums.json")


def test_the_command_says_so_too(run, capsys, caplog):
    checksums = run / "checkpoints" / "checksums.json"
    text = checksums.read_text()
    checksums.unlink()
    try:
        assert measure([str(run / "checkpoints" / "epoch_1.ckpt")]) == 0
    finally:
        checksums.write_text(text)
    assert "dnc1" in capsys.readouterr().out
    assert "epoch_1.ckpt: is unchecked, it may be damaged" in caplog.text


@pytest.mark.parametrize("name", ["last.ckpt", "epoch_3.ckpt"])
@pytest.mark.parametrize("lost", ["missing", "damaged"])
def test_lost_checksums_do_not_make_whole_checkpoints_damaged(tmp_path, caplog, lost, name):
    """The training goes on, whichever it saves next: the newest two can be resumed from, the kept ones measured."""
    saved(tmp_path, ("epoch_1.ckpt", 1), ("last.ckpt", 1), ("last.ckpt", 2))
    LOST[lost](tmp_path / "checksums.json")
    saved(tmp_path, (name, 3))
    assert "checksums.json: is missing or damaged: the newest checkpoints are listed as they are" in caplog.text
    assert usable_checkpoint(tmp_path) == (tmp_path / "last.ckpt", 3 if name == "last.ckpt" else 2)
    caplog.clear()
    for path in (name, "last.ckpt", "previous.ckpt"):
        check_whole(tmp_path / path)
    assert not caplog.messages
    check_whole(tmp_path / "epoch_1.ckpt")
    assert "epoch_1.ckpt: is unchecked" in caplog.text
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="is damaged"):
        check_whole(path)
