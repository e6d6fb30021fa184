"""The identity of a run: what it computes, whatever the paths of the classes and the way numbers are written."""

import copy
import dataclasses
import inspect

import pytest
from hydra.utils import get_class

from ncbench.config.identity import differences
from ncbench.config.root import VARIANTS
from ncbench.config.validate import validate
from ncbench.config.variants import Target, default_of, keys_of
from ncbench.records.run_hash import config_hash, run_id, schema_1_hash
from ncbench.run.compose import compose_jobs


def composed(*overrides):
    return compose_jobs(list(overrides), multirun=False)[0].values


@pytest.fixture(scope="module")
def dufm():
    return composed("+experiment=dufm_k10")


@pytest.fixture(scope="module")
def digits():
    return composed("+experiment=digits_mlp")


def identity(values):
    return config_hash(differences(validate(values)))


def changed(values, key, value):
    copied = copy.deepcopy(values)
    *path, last = key.split(".")
    group = copied
    for part in path:
        group = group[int(part) if isinstance(group, list) else part]
    group[last] = value
    return copied


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset._target_", "ncbench.data.labels.BalancedLabels"),
        ("model._target_", "ncbench.models.replica.dufm.DUFM"),
        ("objective._target_", "ncbench.training.full_batch.FullBatchModule"),
        ("optimizer._target_", "torch.optim.sgd.SGD"),
        ("references.0._target_", "ncbench.theory.dufm_mse.losses.dnc_loss"),
        ("references.0.measure", "loss"),
        # Defaults written out.
        ("measure.kmeans", False),
        ("optimizer.nesterov", False),
        ("model.start", None),
        ("schedule.tolerance", None),
        ("objective.loss", "mse"),
        # Other ways to write a number.
        ("model.init_scale", 7e-1),
        ("objective.weight_decay", 0.002),
        # Nothing computed.
        ("trainer.progress", False),
        ("trainer.checkpoint_seconds", 60),
        ("logger.kind", "wandb_offline"),
        ("claims", {}),
        ("reproduces", None),
        ("grid", {"model.depth": [3, 4]}),
    ],
)
def test_the_same_run(dufm, key, value):
    assert identity(changed(dufm, key, value)) == identity(dufm)


def test_the_same_run_on_another_disk():
    mnist = composed("+experiment=mnist_resnet20")
    assert identity(changed(mnist, "dataset.root", "/elsewhere")) == identity(mnist)
    assert identity(changed(mnist, "dataset.download", False)) == identity(mnist)


def test_whole_numbers_and_the_way_they_are_written(digits):
    one = changed(changed(digits, "optimizer.lr", 1), "objective.weight_decay", 1)
    as_floats = changed(changed(digits, "optimizer.lr", 1.0), "objective.weight_decay", 1.0)
    assert identity(one) == identity(as_floats)
    words = composed("+experiment=digits_mlp", "objective.weight_decay=1e-3")
    assert identity(words) == identity(composed("+experiment=digits_mlp", "objective.weight_decay=0.001"))
    assert identity(words) == identity(composed("+experiment=digits_mlp", "++objective.weight_decay=1.0e-3"))
    decays = [composed("+experiment=dufm_k10", f"+replicate.decay=[{text}]") for text in ("1,2e-3", "1.0,0.002")]
    assert identity(decays[0]) == identity(decays[1])


def test_the_order_of_keys_does_not_count(dufm):
    turned = {key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in dufm.items()}
    assert identity(dict(reversed(turned.items()))) == identity(dufm)


def test_functions_under_measures_have_public_names_too():
    fig1 = composed("+experiment=sukenik24/fig1")
    by_file = changed(fig1, "measure.moments.srg_gram._target_", "ncbench.core.gram.triangular_gram_error")
    assert identity(by_file) == identity(fig1)
    other = changed(fig1, "measure.moments.srg_gram._target_", "ncbench.core.dnc1")
    assert identity(other) != identity(fig1)


def test_how_a_measure_is_shown_is_no_part_of_the_run():
    plain = ["+experiment=dufm_k10", "+measure.moments.mine._target_=ncbench.core.cdnv"]
    captions = ["+measure.moments.mine.label=mine", "+measure.moments.mine.unit=m", "+measure.moments.mine.scale=log"]
    assert identity(composed(*plain, *captions)) == identity(composed(*plain))
    assert identity(composed(*plain, "+measure.moments.mine.further=1")) != identity(composed(*plain))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("model.width", 21),
        ("model.start", "dnc"),
        ("objective.weight_decay", 1e-3),
        ("optimizer.momentum", 0.0),
        ("optimizer.nesterov", True),
        ("schedule.steps", 10),
        ("trainer.threads", None),
        ("trainer.precision", 64),
        ("measure.points", 7),
        ("replicate.seed", 1),
        ("references", []),
        ("references.0._target_", "ncbench.theory.dufm_ce.dnc_loss"),
        ("model._target_", "mine.DUFM"),
    ],
)
def test_another_run(dufm, key, value):
    assert identity(changed(dufm, key, value)) != identity(dufm)


def test_no_import_path_of_ours_is_hashed(dufm, digits):
    for values in (dufm, digits, composed("+experiment=sukenik24/fig1")):
        assert "ncbench." not in repr(differences(validate(values)))


def test_the_defaults_are_what_the_classes_have():
    """A default is part of the identity, as what is left out; so it has to be the one of the class that is made."""
    compared = 0
    for variants in VARIANTS.values():
        for variant in variants:
            for path in variant.CLASSES.values() if issubclass(variant, Target) else ():
                taken = inspect.signature(get_class(path)).parameters
                for f in dataclasses.fields(variant):
                    if f.name in taken and f.name in keys_of(variant) and default_of(f) != "???":
                        theirs = taken[f.name].default
                        if theirs not in (inspect.Parameter.empty, None):
                            assert default_of(f) == theirs, (path, f.name)
                            compared += 1
    assert compared > 20


def test_the_names_of_folders_are_pinned(dufm, digits):
    """A change of these means that every run folder is another run's: it must not happen by accident."""
    assert run_id(differences(validate(dufm))) == "ca487b42f1"
    before = {**dufm, "model": {**dufm["model"], "init_generator": "torch"}}
    assert run_id(differences(validate(before))) == "fce3d74927"
    assert run_id(differences(validate(digits))) == "7c732f5b14"


def test_the_hash_of_schema_1_is_of_all_values():
    values = {"seed": 0, "dataset": {"root": "/a", "classes": 3}, "trainer": {"progress": True}, "claims": [1]}
    # sha256 of {"dataset":{"classes":3},"seed":0,"trainer":{}}
    assert schema_1_hash(values).startswith("00b32b0318")
    assert schema_1_hash(values | {"claims": [], "open": {}, "logger": {"kind": "wandb"}}) == schema_1_hash(values)
    assert schema_1_hash(values | {"seed": 0.0}) != schema_1_hash(values)
