"""What the class means of a layer are called, and that a run records it."""

import json

import torch

from ncbench import train
from ncbench.core import frames
from ncbench.measure.geometries import named_geometries
from ncbench.measure.measures import Measurement


def test_the_replica_with_the_lowest_loss_is_named():
    etf, pairs = frames.simplex_etf(4), frames.pair_blocks(4)
    means = torch.stack([etf, pairs])
    loss = torch.tensor([0.2, 0.1])
    measurement = Measurement(values={("train", "", "", "loss"): loss}, means={("head.1", "pre"): means})
    named = named_geometries(measurement)
    assert (named["replica"], named["of"]["head.1.pre"]["name"]) == (1, "pair_blocks")
    measurement.values["train", "", "", "loss"] = torch.tensor([0.2, float("nan")])  # a replica that diverged
    named = named_geometries(measurement)
    assert (named["replica"], named["of"]["head.1.pre"]["name"]) == (0, "simplex_etf")


def test_what_has_no_name_and_what_is_not_kept():
    lopsided = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 9.0]])
    measurement = Measurement(means={("a", "post"): lopsided[None], ("b", "post"): lopsided[None] * float("nan")})
    assert named_geometries(measurement) == {"replica": 0, "of": {"a.post": None}}
    assert named_geometries(Measurement()) is None


def test_a_run_records_the_geometry_of_its_end(tmp_path):
    """All decays 4e-3, n = 1, L = 1: the solution is neural collapse (arXiv 2405.14468, for L = 2 and below)."""
    overrides = ["+experiment=dufm_k10", "model.depth=1", "model.width=20", "replicate.seed=2", "dataset.per_class=1"]
    overrides += ["schedule.steps=3000", "measure.points=4", "references=[]", "claims=null", "trainer.progress=false"]
    overrides += ["replicate={seed: 2}", "objective.weight_decay=4e-3", "objective.feature_decay=4e-3"]
    assert train.main([*overrides, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["geometry"]
    assert recorded["step"] == 3000
    assert recorded["of"]["features.post"]["name"] == "orthogonal_frame"
    assert recorded["of"]["features.post"]["residual"] < 1e-3
