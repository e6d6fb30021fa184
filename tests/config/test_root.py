"""What a configuration may hold, and what is said about one that may not."""

import copy
import subprocess
import sys

import pytest

from ncbench.config.root import Config
from ncbench.config.validate import validate
from ncbench.run.compose import compose_jobs


@pytest.fixture(scope="module")
def digits():
    (job,) = compose_jobs(["+experiment=digits_mlp"], multirun=False)
    return job.values


def with_value(values, key, value):
    changed = copy.deepcopy(values)
    *path, last = key.split(".")
    group = changed
    for part in path:
        group = group[part]
    group[last] = value
    return changed


def test_experiments_become_dataclasses(digits):
    config = validate(digits)
    assert isinstance(config, Config)
    assert (config.model.depth, config.model.width, config.dataset.per_class) == (4, 64, 170)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.lrr", 1, r"optimizer.lrr=1: unknown key \(did you mean optimizer.lr\?\)"),
        ("modle", {}, r"modle=\{\}: unknown key \(did you mean model\?\)"),
        ("optimizer.lr", "abc", "optimizer.lr=abc: must be a number"),
        ("optimizer.lr", 0.0, "optimizer.lr=0.0: must be > 0"),
        ("optimizer.momentum", 1.0, r"optimizer.momentum=1.0: must be in \[0, 1\)"),
        ("model.depth", 0, "model.depth=0: the head needs at least 1 weight matrix"),
        ("model.activation", "gelu", "model.activation=gelu: must be relu or linear"),
        ("objective.weight_decay", -1e-3, "objective.weight_decay=-0.001: must be a number >= 0"),
        ("objective.weight_decay", "x", "objective.weight_decay=x: must be a number >= 0"),
        ("objective.weight_decay", [1e-3, 1e-3], "one number, or one per weight matrix"),
        ("objective.loss", "hinge", "objective.loss=hinge: must be mse or ce"),
        ("objective.regulariser", "l1", "must be dufm_like or standard"),
        ("dataset.classes", 1, "dataset.classes=1: must be null, a number >= 2"),
        ("dataset.classes", [3, 3], r"dataset.classes=\[3, 3\]"),
        ("dataset.classes", 100, "dataset.classes=100: this set has the 10 classes 0 ... 9"),
        ("dataset.per_class", 0, "dataset.per_class=0: must be >= 1"),
        ("measure.splits", ["val"], "must be .train. or .train, test."),
        ("measure.points", 0, "measure.points=0: must be >= 1"),
        ("measure.moments", {"mine": {"label": "x"}}, "a function is needed, as in {_target_: package.function}"),
        (
            "measure.matrices",
            {"mine": {"_target_": "a.b", "scale": "cubic"}},
            "mine.scale=cubic: must be one of linear",
        ),
        ("measure.moments", {"mine": {"_target_": "a.b", "unit": 3}}, "measure.moments.mine.unit=3: must be a text"),
        ("trainer.max_epochs", None, "trainer.max_epochs=None: must be >= 1"),
        ("trainer.precision", 16, "trainer.precision=16: must be one of 32, 64, bf16-mixed"),
        ("logger.kind", "xml", "logger.kind=xml: must be one of local, csv, tensorboard, wandb_offline, wandb"),
        ("replicate", {"seed": 4}, "only full-batch problems"),
        ("replicate", {"width": [4]}, "replicate=width: unknown axis"),
        ("model.width", [64, 64], r"model.width=\[64, 64\]: one width, or one for each of H_1 ... H_L \(4\)"),
        ("model.width", [64, 0, 64, 64], "model.width=0: must be >= 1"),
        ("model.width", 0, "model.width=0: must be >= 1"),
        ("replicate", {"lr": [0.1, 0.0]}, r"replicate.lr=\[0.1, 0.0\]: must be numbers > 0"),
        ("schedule.tolerance", 1e-8, "schedule.tolerance=1e-08: only full_batch takes this key"),
        ("schedule.steps", 10, "schedule.steps=10: only full_batch and stationary take this key; schedule.kind=cosine"),
        ("seed", -1, r"seed=-1: must be in \[0, 2\^32\)"),
        ("model", 3, "model=3: must be a group of keys"),
    ],
)
def test_one_line_per_mistake(digits, key, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        validate(with_value(digits, key, value))
    assert "\n" not in str(caught.value)


def test_a_missing_group_is_named(digits):
    with pytest.raises(ValueError, match="model: a value is needed"):
        validate({key: value for key, value in digits.items() if key != "model"})


def test_adamw_is_refused_where_a_theory_line_is_drawn(digits):
    adamw = with_value(digits, "optimizer", {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3})
    with pytest.raises(ValueError, match="optimizer=adamw: decoupled decay has other stationary points"):
        validate(adamw)
    assert validate(with_value(adamw, "references", [])).optimizer.lr == 1e-3


def test_grids_and_forgotten_m():
    jobs = compose_jobs(["+experiment=digits_mlp", "model.depth=2,3", "seed=0,1"], multirun=True)
    assert [(job.config.model.depth, job.config.seed) for job in jobs] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert len({job.folder for job in jobs}) == 4
    with pytest.raises(ValueError, match="model.depth=2,3: several values make several jobs; add -m"):
        compose_jobs(["+experiment=digits_mlp", "model.depth=2,3"], multirun=False)


def test_configuration_is_checked_without_torch():
    code = "import sys, ncbench.run.compose as c; c.compose_jobs(['+experiment=dufm_k10'], multirun=False); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_several_rates_in_one_ensemble_need_the_optimiser_that_takes_them():
    stack = compose_jobs(["+experiment=dufm_k10", "+replicate.lr=[0.1,0.5]"], multirun=False)[0].values
    assert validate(stack).replicate["lr"] == [0.1, 0.5]
    adamw = with_value(stack, "optimizer", {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3})
    with pytest.raises(ValueError, match="several rates in one ensemble need optimizer=gd or heavy_ball"):
        validate(with_value(adamw, "references", []))
