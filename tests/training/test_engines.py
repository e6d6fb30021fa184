"""`trainer.engine`: what it chooses, what it refuses, and a run in lanes that is interrupted."""

from functools import partial

import pytest
import torch

from ncbench import train
from ncbench.models.replica import DUFM
from ncbench.records.folder import RunFolder
from ncbench.run.compose import compose_command
from ncbench.training import FullBatchModule, engines

TINY = [
    *("+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=4", "trainer.progress=false"),
    *("dataset.per_class=1", "references=[]", "trainer.precision=64", "trainer.engine=lanes"),
]


def _module(engine="auto", optimizer=None):
    network = DUFM(
        depth=2,
        width=4,
        activation="relu",
        init_scale=0.7,
        num_classes=3,
        num_samples=6,
        seeds=[0],
        dtype=torch.float64,
    )
    return FullBatchModule(
        loss="mse",
        weight_decays=[[1e-3, 1e-3]],
        feature_decays=[1e-3],
        network=network,
        labels=torch.arange(3).repeat(2),
        optimizer=optimizer or partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        steps=10,
        engine=engine,
    )


def _chosen(module):
    module.configure_optimizers()
    return module.engine


def test_auto_goes_by_the_multiply_adds_of_a_network(monkeypatch):
    assert _chosen(_module()) == "torch"
    monkeypatch.setattr(engines, "LANES_UP_TO", 6 * (4 * 4 + 4 * 3))
    assert _chosen(_module()) == "lanes"
    assert _chosen(_module("torch")) == "torch"
    assert _chosen(_module(optimizer=partial(torch.optim.Adam, lr=0.1))) == "torch"
    assert _chosen(_module(optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True))) == "torch"
    monkeypatch.setattr(engines, "LANES_UP_TO", 6 * (4 * 4 + 4 * 3) - 1)
    assert _chosen(_module()) == "torch"


def test_a_run_goes_on_with_the_engine_with_which_it_began(monkeypatch):
    monkeypatch.setattr(engines, "LANES_UP_TO", 10**9)
    for checkpoint, engine in (({"engine": "torch"}, "torch"), ({}, "torch"), ({"engine": "lanes"}, "lanes")):
        module = _module()
        module.on_load_checkpoint(checkpoint)
        assert _chosen(module) == engine
        kept = {}
        module.on_save_checkpoint(kept)
        assert kept == {"engine": engine}


def test_lanes_are_refused_where_they_cannot_be():
    with pytest.raises(ValueError, match=r"trainer\.engine=lanes: needs torch\.optim\.SGD without nesterov"):
        _chosen(_module("lanes", partial(torch.optim.Adam, lr=0.1)))


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["+experiment=dufm_k10", "optimizer=adam"], r"lanes: needs optimizer=gd or heavy_ball; use auto"),
        (["+experiment=dufm_k10", "trainer.accelerator=cuda"], r"lanes: is an engine of the CPU, not of trainer\."),
        (["+experiment=digits_mlp"], r"lanes: trains free features \(model=dufm\) only; use auto"),
    ],
)
def test_a_configuration_with_lanes_is_refused_in_one_line(overrides, rule):
    with pytest.raises(ValueError, match=rf"trainer\.engine=.?{rule}"):
        compose_command([*overrides, "references=[]", "trainer.engine=lanes"], multirun=False)


def test_a_run_in_lanes_says_so_and_its_digests_are_those_of_one_that_was_interrupted(tmp_path, monkeypatch):
    assert train.main([*TINY, f"hydra.run.dir={tmp_path / 'whole'}"]) == 0
    whole = RunFolder(tmp_path / "whole").info()
    assert whole["engine"] == "lanes"
    before = FullBatchModule.train_block

    def stopping(self, done, end):
        if done > 1:
            raise KeyboardInterrupt
        before(self, done, end)

    with monkeypatch.context() as patched:
        patched.setattr(FullBatchModule, "train_block", stopping)
        assert train.main([*TINY, "trainer.checkpoint_seconds=0", f"hydra.run.dir={tmp_path / 'parts'}"]) != 0
        assert RunFolder(tmp_path / "parts").info()["status"] == "interrupted"
    assert train.main([*TINY, "trainer.checkpoint_seconds=0", f"hydra.run.dir={tmp_path / 'parts'}"]) == 0
    parts = RunFolder(tmp_path / "parts").info()
    assert parts["engine"] == "lanes"
    assert parts["digests"] == whole["digests"]
