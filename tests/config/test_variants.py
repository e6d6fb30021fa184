"""Which dataclass a group's values are of: by its kind, by a class that is known, and classes of the user's own."""

import pytest

from ncbench.config.training import LBFGS
from ncbench.config.validate import validate
from ncbench.config.variants import public_name
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs

MINE = """
from ncbench.data import Digits
from ncbench.models.replica import DUFM, Perceptron
from torch.optim import SGD

class MyPerceptron(Perceptron):
    pass

class MyDUFM(DUFM):
    pass

class Fewer(Digits):
    def __init__(self, *, leave_out, **others):
        super().__init__(**others)
        self.leave_out = leave_out

class Alone:
    labels = None
    def __init__(self, size): self.size = size
    def prepare_data(self): raise ValueError(f"size={self.size}: must be larger")
    def setup(self): pass

class MySGD(SGD):
    def __init__(self, parameters, lr, temperature):
        super().__init__(parameters, lr)
        self.temperature = temperature
"""
PERCEPTRON = ["dataset=mixture", "model=perceptron", "objective=squared", "optimizer=lbfgs", "schedule=stationary"]


@pytest.fixture
def _mine(tmp_path, monkeypatch):
    (tmp_path / "mine_of_test_targets.py").write_text(MINE.strip())
    monkeypatch.syspath_prepend(str(tmp_path))


def values(*overrides):
    return compose_jobs(list(overrides), multirun=False)[0].values


def without_kinds(of_groups):
    """As an earlier version wrote it."""
    return {
        name: {key: value for key, value in group.items() if key != "kind" or name == "logger"}
        if isinstance(group, dict)
        else group
        for name, group in of_groups.items()
    }


def test_the_public_name_stays_where_a_class_moves_within_its_room():
    assert public_name("ncbench.models.replica.dufm.DUFM") == public_name("ncbench.models.DUFM") == "models.DUFM"
    losses = ("ncbench.theory.dufm_mse.losses.dnc_loss", "ncbench.theory.dufm_mse.dnc_loss")
    assert {public_name(path) for path in losses} == {"theory.dufm_mse.dnc_loss"}
    assert public_name("ncbench.theory.dufm_ce.lines.dnc_loss") == "theory.dufm_ce.dnc_loss"
    assert public_name("mine.DUFM") == "mine.DUFM"
    assert public_name("DUFM") == "DUFM"


@pytest.mark.parametrize(
    "overrides",
    [
        ["+experiment=digits_mlp"],
        ["+experiment=dufm_k10", "+schedule.tolerance=1e-3"],
        ["+experiment=mnist_resnet20", "schedule=multistep"],
        ["+experiment=cifar_resnet20", "schedule=constant"],
        ["+experiment=zangrando26/fig2_gamma"],
        ["+experiment=untested/fig5_depth"],
        [*PERCEPTRON, "optimizer=adam", "schedule=full_batch"],
    ],
)
def test_values_without_kinds_are_of_the_same_dataclasses(overrides):
    recorded = values(*overrides)
    assert validate(without_kinds(recorded)) == validate(recorded)


def test_a_constant_schedule_was_written_without_a_class():
    of_an_earlier_version = without_kinds(values("+experiment=digits_mlp")) | {"schedule": {"_target_": None}}
    assert validate(of_an_earlier_version).schedule.KIND == "constant"


def test_what_is_written_is_read_as_the_same():
    for overrides in (["+experiment=digits_mlp"], ["+experiment=zangrando26/fig2_gamma"], ["+experiment=dufm_k10"]):
        config = validate(values(*overrides))
        assert validate(config.plain()) == config


@pytest.mark.parametrize(
    ("group", "changes", "message"),
    [
        (
            "optimizer",
            {"_target_": "torch.optim.Adam", "kind": "adam"},
            "optimizer.momentum=0.9: only sgd takes this key",
        ),
        (
            "optimizer",
            {"kind": None, "_target_": "mine.Opt"},
            "optimizer._target_=mine.Opt: this is no class of ncbenc",
        ),
        (
            "optimizer",
            {"kind": "sdg"},
            r"optimizer.kind=sdg: unknown kind \(did you mean sgd\?\); it must be one of sgd",
        ),
        ("optimizer", {"_target_": "torch.optim.AdamW"}, "optimizer.kind=sgd: torch.optim.AdamW is of another kind"),
        (
            "dataset",
            {"kind": None, "_target_": "mine.Set"},
            "add dataset.kind=... to say what it is, one of digits, ima",
        ),
        ("dataset", {"orthonormal": True}, "dataset.orthonormal=True: only random_points takes this key; dataset.kind"),
        (
            "dataset",
            {"sede": 3},
            r"dataset.sede=3: unknown key \(did you mean dataset.seed\?\); dataset.kind=digits ta",
        ),
        ("optimizer", {"kind": "other", "_target_": "mine.Opt", "weight_decay": 1.0}, "the decay is the objective's"),
    ],
)
def test_one_line_where_the_kind_is_not_clear_or_a_key_is_of_another(group, changes, message):
    composed = values("+experiment=digits_mlp")
    changed = {key: value for key, value in {**composed[group], **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=message) as caught:
        validate({**composed, group: changed})
    assert "\n" not in str(caught.value)


def test_a_key_of_another_variant_is_refused_before_anything_is_built():
    with pytest.raises(
        ValueError, match=r"dataset.seed=0: only .* random_points and torch take this key; dataset.kind=labels takes cl"
    ):
        compose_jobs(["+experiment=dufm_k10", "+dataset.seed=0"], multirun=False)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "model.start",
            r"the chosen model does not set this key; only free_features takes it, and \+model.start=... then",
        ),
        ("dataset.root", "the chosen dataset does not set this key; only images takes it"),
        ("model.backbone.channels", r"ncbench.models.backbones.SmallMLP takes no argument of that name"),
        ("optimizer.lrr", r"unknown key \(did you mean optimizer.lr\?\)"),
        ("modle", r"unknown key \(did you mean model\?\)"),
    ],
)
def test_keys_that_the_composed_files_do_not_have(key, message):
    with pytest.raises(ValueError, match=f"{key}: {message}"):
        compose_jobs(["+experiment=digits_mlp", f"{key}=1"], multirun=False)


@pytest.mark.usefixtures("_mine")
def test_a_subclass_goes_with_the_kind_of_its_group():
    mine = "mine_of_test_targets"
    (job,) = compose_jobs([*PERCEPTRON, f"model._target_={mine}.MyPerceptron"], multirun=False)
    assert job.config.model.on_inputs
    assert type(build(job.config).network).__name__ == "MyPerceptron"
    (job,) = compose_jobs(["+experiment=dufm_k10", f"model._target_={mine}.MyDUFM"], multirun=False)
    assert type(build(job.config).network).__name__ == "MyDUFM"


@pytest.mark.usefixtures("_mine")
def test_a_class_of_the_users_own_may_have_further_keys():
    mine = "mine_of_test_targets"
    digits = ["+experiment=digits_mlp", "dataset.per_class=20"]
    (job,) = compose_jobs([*digits, f"dataset._target_={mine}.Fewer", "+dataset.leave_out=3"], multirun=False)
    assert build(job.config).data.leave_out == 3
    assert validate(job.config.plain()) == job.config
    own = ["optimizer=adam", "optimizer.kind=other", f"optimizer._target_={mine}.MySGD", "+optimizer.temperature=2"]
    (job,) = compose_jobs([*digits, *own], multirun=False)
    assert build(job.config).module.configure_optimizers()["optimizer"].temperature == 2


@pytest.mark.usefixtures("_mine")
def test_every_key_of_another_dataset_is_an_argument_of_its_class():
    composed = values("+experiment=dufm_k10")
    alone = {"kind": "other", "_target_": "mine_of_test_targets.Alone", "size": 3}
    config = validate({**composed, "dataset": alone})
    assert config.dataset.arguments() == {"_target_": "mine_of_test_targets.Alone", "size": 3}
    with pytest.raises(ValueError, match=r"^dataset.size=3: must be larger"):
        build(config)


def test_moved_classes_are_made_where_they_are_now():
    composed = values(*PERCEPTRON)
    moved = {**composed["optimizer"], "_target_": "ncbench.models.replica.optim.ensemble_lbfgs.LBFGS"}
    config = validate({**composed, "optimizer": moved})
    assert isinstance(config.optimizer, LBFGS)
    assert config.optimizer.arguments()["_target_"] == "ncbench.models.replica.LBFGS"
