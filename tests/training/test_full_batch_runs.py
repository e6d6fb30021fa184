"""Whole runs of unconstrained features models, tiny ones: what their further measures are."""

import pytest
import torch

from ncbench.run import execute as run_execute
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs
from tests.helpers.ensemble_runs import column

BASE = ["dataset=labels", "dataset.classes=3", "dataset.per_class=2", "model=dufm", "model.depth=2", "model.width=4"]
BASE += ["objective=dufm", "objective.weight_decay=0.02", "objective.feature_decay=0.01", "optimizer=gd"]
BASE += ["schedule=full_batch", "schedule.steps=30", "trainer.threads=1", "trainer.progress=false", "measure.points=4"]
SEEDS = ["+replicate.seed=3"]


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_the_largest_entry_of_the_gradient_is_that_of_autograd(tmp_path, loss):
    """From the objective written out once more; training in float32, the measure in float64."""
    config = compose_jobs([*BASE, *SEEDS, f"objective.loss={loss}"], multirun=False)[0].config
    assert run_execute.execute(config, tmp_path / "run", command="test") == 0
    network, labels = (built := build(config)).network, built.data.labels
    largest = []
    for replica in range(3):
        H = network.features.value.data[replica].double().requires_grad_()
        Ws = [W.data[replica].double().requires_grad_() for W in network.weights]
        f = (H @ Ws[0].T).relu() @ Ws[1].T
        fit = torch.nn.functional.cross_entropy(f, labels)
        if loss == "mse":
            fit = (f - torch.eye(3, dtype=f.dtype)[labels]).square().sum() / 12
        (fit + 0.01 / 2 * H.square().sum() + 0.02 / 2 * sum(W.square().sum() for W in Ws)).backward()
        largest.append(max(float(x.grad.abs().max()) for x in (H, *Ws)))
    measured = column(tmp_path / "run", "grad_max", 0)
    assert measured == pytest.approx(largest, rel=1e-12)
