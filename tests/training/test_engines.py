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
    network = _network()
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


def _network(replicas=1, samples=6, dtype=torch.float64, **given):
    shape = {"depth": 2, "width": 4, "activation": "relu", "init_scale": 0.7, "num_classes": 3, **given}
    return DUFM(**shape, num_samples=samples, seeds=range(replicas), dtype=dtype)


def _auto(**given):
    return engines.engine_of("auto", _network(**given), torch.optim.SGD([torch.zeros(1)], lr=0.1))


def test_auto_is_lanes_where_a_network_is_small_or_the_replicas_fill_half_a_vector_with_matrices_of_the_cache():
    assert engines.SMALL == 100 * (30 * 30 + 3 * 30) + 1000
    assert _auto(samples=100, width=30) == _auto(samples=101, width=30) == "lanes"
    assert _auto(samples=102, width=30) == "torch"
    assert [_auto(samples=102, width=30, replicas=R) for R in (3, 4)] == ["torch", "lanes"]
    floats = {"samples": 102, "width": 30, "dtype": torch.float32}
    assert [_auto(**floats, replicas=R) for R in (7, 8)] == ["torch", "lanes"]
    assert [_auto(**floats | {"width": width}, replicas=8) for width in (150, 151)] == ["lanes", "torch"]


def test_auto_is_torch_for_optimisers_that_lanes_lack():
    assert _chosen(_module()) == "lanes"
    assert _chosen(_module("torch")) == "torch"
    assert _chosen(_module(optimizer=partial(torch.optim.Adam, lr=0.1))) == "torch"
    assert _chosen(_module(optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True))) == "torch"


def test_a_run_goes_on_with_the_engine_with_which_it_began():
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
