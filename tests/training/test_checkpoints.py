"""Checkpoints on disk: one that loads is always there, and it is the newest whole one."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from ncbench.records.checksums import CheckpointError
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


def test_numbers_of_numpy_are_written_as_pythons(tmp_path):
    groups = [{"lr": np.float64(0.25), "betas": (np.float32(0.5), 0.9), "n": np.int64(3), "on": np.bool_(True)}]
    AtomicCheckpointIO().save_checkpoint({"ncbench_step": 1, "optimizer_states": groups}, tmp_path / "last.ckpt")
    assert usable_checkpoint(tmp_path) == (tmp_path / "last.ckpt", 1)
    (read,) = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"]
    assert read == {"lr": 0.25, "betas": (0.5, 0.9), "n": 3, "on": True}
    assert {type(value) for value in read.values()} == {float, tuple, int, bool}
    assert type(groups[0]["lr"]) is np.float64  # the optimiser's own is left alone


def test_what_torch_would_not_read_again_is_refused_at_the_first_checkpoint(tmp_path):
    writes = AtomicCheckpointIO()
    with pytest.raises(CheckpointError, match="has a value of the type fractions.Fraction, which torch does not read"):
        writes.save_checkpoint({"ncbench_step": 1, "rate": Fraction(1, 3)}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []
    writes.save_checkpoint({"ncbench_step": 2, "rate": 1 / 3}, tmp_path / "last.ckpt")
    assert usable_checkpoint(tmp_path) == (tmp_path / "last.ckpt", 2)


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:100] + b"\0" + b[101:], lambda b: b""])
def test_damage_is_seen(tmp_path, damage):
    for step in (1, 2):
        save(tmp_path, step)
    path = tmp_path / "last.ckpt"
    path.write_bytes(damage(path.read_bytes()))
    assert usable_checkpoint(tmp_path) == (tmp_path / "previous.ckpt", 1)


def test_the_next_one_does_not_make_a_damaged_one_whole(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
    path = tmp_path / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-7] + b"damaged")
    save(tmp_path, 3)  # the damaged one is now previous.ckpt
    assert usable_checkpoint(tmp_path) == (path, 3)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"last.ckpt: is damaged .*; .*previous.ckpt: is damaged"):
        usable_checkpoint(tmp_path)


def shorten_both(folder):
    for path in (folder / "last.ckpt", folder / "previous.ckpt"):
        path.write_bytes(path.read_bytes()[:-7])


def test_checkpoints_of_which_none_can_be_trusted(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
    shorten_both(tmp_path)
    with pytest.raises(CheckpointError) as error:
        usable_checkpoint(tmp_path)
    assert "last.ckpt: is damaged (its checksum is another); " in str(error.value)
    assert str(error.value).endswith(f"; delete {tmp_path} to train from the start")
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).unlink()
    assert usable_checkpoint(tmp_path) is None  # nothing that could be lost: from the start


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: f.write_text(""),
        lambda f: f.write_text("{"),
        lambda f: f.write_text("[]"),
        lambda f: f.write_text('{"sha256": [1]}'),
        lambda f: f.write_text("[" * 200_000),
        lambda f: f.write_bytes(b"\xff\xfe"),
        lambda f: f.unlink(),
    ],
)
def test_where_the_list_is_lost_the_checkpoints_prove_themselves(tmp_path, damage, caplog):
    for step in (1, 2):
        save(tmp_path, step)
    damage(tmp_path / "checksums.json")
    assert usable_checkpoint(tmp_path) == (tmp_path / "last.ckpt", 2)
    assert "checksums.json: is missing or damaged; last.ckpt is whole by the checksums inside it" in caplog.text
    path = tmp_path / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((3,), 2.0).numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert usable_checkpoint(tmp_path) == (tmp_path / "previous.ckpt", 1)
    shorten_both(tmp_path)
    with pytest.raises(CheckpointError, match="last.ckpt: is damaged .*previous.ckpt: is damaged .*; delete "):
        usable_checkpoint(tmp_path)


def test_weights_of_another_network_are_passed_over(tmp_path, caplog):
    AtomicCheckpointIO().save_checkpoint(
        {"ncbench_step": 1, "state_dict": {"a": torch.ones(1)}}, tmp_path / "last.ckpt"
    )
    AtomicCheckpointIO().save_checkpoint(
        {"ncbench_step": 2, "state_dict": {"b": torch.ones(1)}}, tmp_path / "last.ckpt"
    )
    assert usable_checkpoint(tmp_path, lambda state: state["a"]) == (tmp_path / "previous.ckpt", 1)
    passed = "last.ckpt: is no checkpoint of this run's network; training goes on from previous.ckpt, step 1"
    assert passed in caplog.text
    with pytest.raises(CheckpointError, match="last.ckpt: is no checkpoint of this run's network; .*previous.ckpt"):
        usable_checkpoint(tmp_path, lambda state: state["c"])


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
