"""Checkpoints on disk: one that loads is always there, and it is the newest whole one."""

import json

import pytest
import torch

from ncbench.training.checkpoints import AtomicCheckpointIO, usable_checkpoint


def save(folder, step):
    AtomicCheckpointIO().save_checkpoint({"ncbench_step": step, "x": torch.ones(3) * step}, folder / "last.ckpt")


def test_last_and_previous(tmp_path):
    assert usable_checkpoint(tmp_path) is None
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert usable_checkpoint(tmp_path) == (tmp_path / "last.ckpt", 3)
    assert torch.load(tmp_path / "previous.ckpt", weights_only=True)["ncbench_step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checksums.json", "last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:100] + b"\0" + b[101:], lambda b: b""])
def test_damage_is_seen(tmp_path, damage):
    for step in (1, 2):
        save(tmp_path, step)
    path = tmp_path / "last.ckpt"
    path.write_bytes(damage(path.read_bytes()))
    assert usable_checkpoint(tmp_path) == (tmp_path / "previous.ckpt", 1)


class Killed(Exception):
    pass


@pytest.mark.parametrize("moment", range(3))
def test_a_kill_at_every_rename_leaves_a_usable_checkpoint(tmp_path, monkeypatch, moment):
    import os

    for step in (1, 2):
        save(tmp_path, step)
    real, calls = os.replace, []

    def dies(source, target):
        if len(calls) == moment:
            raise Killed
        calls.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(Killed):
        save(tmp_path, 3)
    monkeypatch.undo()
    found = usable_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == 2
    assert not list(tmp_path.glob(".*.tmp"))
    save(tmp_path, 3)
    assert usable_checkpoint(tmp_path) == (tmp_path / "last.ckpt", 3)
    assert len(json.loads((tmp_path / "checksums.json").read_text())["sha256"]) == 2
