"""What an optimiser does with the weight decay of its groups, and the line where it is not the objective's."""

from functools import partial

import pytest
import torch
from torch import optim

from ncbench.run import execute as run_execute
from ncbench.run.build import load_run
from ncbench.run.compose import compose_jobs
from ncbench.training import decay_trial
from ncbench.training.decay_trial import weight_decay_of


class Plain(optim.Optimizer):
    """p - lr g, whatever else its groups have; `calls` may be an error of its steps."""

    def __init__(self, params, lr=0.1, error=None, **defaults):
        super().__init__(params, {"lr": lr, **defaults})
        self.error = error

    @torch.no_grad()
    def step(self, closure=None):
        if self.error:
            raise RuntimeError(self.error)
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad
        return loss


class Decaying(optim.AdamW):
    """With a decay of its own, 0.01."""


class OfMatrices(optim.SGD):
    """For weights alone, as torch.optim.Muon."""

    def __init__(self, params, **options):
        super().__init__(params, **options)
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("takes matrices alone")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (partial(optim.SGD, lr=0.1), "coupled"),
        (partial(optim.SGD, lr=1e-8, momentum=0.9, nesterov=True), "coupled"),
        (optim.Adam, "coupled"),
        (optim.RMSprop, "coupled"),
        (optim.Adagrad, "coupled"),
        (partial(optim.Adam, decoupled_weight_decay=True), "other"),
        (optim.AdamW, "other"),
        (optim.Adafactor, "other"),
        (partial(optim.Rprop, lr=0.01), "none"),
        (optim.LBFGS, "none"),
        (Plain, "none"),
        (partial(Plain, weight_decay=0.0), "none"),  # an entry of that name is not yet a decay
        (partial(OfMatrices, lr=0.1), "coupled"),
        *([(optim.Muon, "other")] if hasattr(optim, "Muon") else []),  # takes matrices alone
        (optim.SparseAdam, "none"),  # its steps fail here
        (partial(Plain, error="needs .train()"), "none"),
        (partial(Plain, error="needs .train()", weight_decay=0.0), "coupled"),  # as nothing else is known
    ],
)
def test_weight_decay(make, expected):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert weight_decay_of(make) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_signs_alone_tell_a_decay_from_none(mutant):
    """Adam's first steps are of size lr, whatever the gradient: with a start at 3 the decay changes no sign."""
    blind = mutant(decay_trial, "(q - 2) + of_gradient", "(q + 2) + of_gradient")
    assert blind.weight_decay_of(partial(optim.Adam, lr=1e-3, decoupled_weight_decay=False)) == "coupled"
    assert weight_decay_of(partial(optim.Rprop, lr=0.01)) == "none"
    assert blind.weight_decay_of(partial(optim.Rprop, lr=0.01)) != "none"


NETWORK = [
    *("dataset=digits", "model=network", "model._target_=tests.helpers.whole_networks.Functional"),
    *("objective=standard", "objective.loss=ce", "references=[]", "claims={}", "trainer.max_epochs=1"),
]
PLATEAU = ["schedule.kind=other", "schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"]
PLATEAU += ["~schedule.T_max", "~schedule.eta_min"]
SHORT = ["schedule.kind=other", "schedule._target_=torch.optim.lr_scheduler.OneCycleLR", "+schedule.max_lr=0.1"]
SHORT += ["~schedule.T_max", "~schedule.eta_min", "+schedule.total_steps=3"]
FREE = ["+experiment=dufm_k10", "optimizer.kind=other", "~optimizer.momentum", "references=[]", "claims={}"]


def other(target):
    bare = ["optimizer.kind=other", "~optimizer.momentum", "~optimizer.nesterov", "optimizer.lr=0.01"]
    return [*bare, f"optimizer._target_={target if '.' in target else f'torch.optim.{target}'}"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [*NETWORK, *other("Rprop"), "objective.weight_decay=0.5"],
            "objective.weight_decay=0.5: acts through the optimiser, and torch.optim.Rprop has no weight decay; use 0",
        ),
        (
            [*other("Adafactor"), "+experiment=digits_mlp", "claims={}"],
            "optimizer._target_=torch.optim.Adafactor: its weight decay is no part of the gradient",
        ),
        (
            [*FREE, "optimizer._target_=tests.training.test_decay_trial.Decaying"],
            "optimizer._target_=tests.training.test_decay_trial.Decaying: decays by 0.01 what the gradient of the",
        ),
        (
            [*NETWORK, *PLATEAU],
            "schedule._target_: ReduceLROnPlateau waits for a value after every epoch, and none is given",
        ),
        (
            [*NETWORK, *other("tests.training.test_decay_trial.OfMatrices")],
            "optimizer: takes matrices alone",  # and the network has biases
        ),
        (
            [*NETWORK, "trainer.max_epochs=6", *SHORT],
            "schedule._target_: its step after epoch 4 of trainer.max_epochs=6 fails (Tried to step 4 times.",
        ),
    ],
)
def test_refused_in_one_line(tmp_path, capsys, overrides, message):
    (job,) = compose_jobs([*overrides, "trainer.progress=false"], multirun=False)
    assert run_execute.execute(job.config, tmp_path / "run", command="test") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_of_such_an_optimiser_is_still_read(tmp_path, monkeypatch):
    """A folder of an earlier version has one; what it trained can be measured."""
    with monkeypatch.context() as patch:
        patch.setattr("ncbench.run.optimizer_trial._check_decay", lambda *_: None)
        small = ["dataset.per_class=12", "objective.weight_decay=0.5", "measure.points=1", "trainer.progress=false"]
        (job,) = compose_jobs([*NETWORK, *other("Rprop"), *small], multirun=False)
        assert run_execute.execute(job.config, tmp_path / "run", command="test") == 0
    module, _, _ = load_run(tmp_path / "run", trust=("tests.helpers",))
    assert module.network.fc.out_features == 10


def test_an_optimiser_without_decay_trains_what_has_none(tmp_path):
    small = ["dataset.per_class=12", "objective.weight_decay=0", "measure.points=1", "trainer.progress=false"]
    (job,) = compose_jobs([*NETWORK, *other("Rprop"), *small], multirun=False)
    assert run_execute.execute(job.config, tmp_path / "run", command="test") == 0
