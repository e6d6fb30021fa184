"""What is refused before the first step: whole numbers for a network of floats, a batch that is a single sample."""

import copy
import random

import pytest
import torch
from torch import nn

from ncbench.run import checks
from ncbench.run.build import build
from ncbench.run.checks import check_training_outputs
from ncbench.run.compose import compose_jobs

COMMON = [
    *("objective=standard", "objective.loss=ce", "trainer.max_epochs=1", "trainer.progress=false"),
    *("claims=null", "references=[]"),
]
HERE = "tests.helpers.token_networks"
DIGITS = ["dataset=digits", "dataset.per_class=10"]  # 100 samples
NORMED = ["model=network", f"model._target_={HERE}.Normed"]
TOKENS = ["dataset=other", f"dataset._target_={HERE}.Tokens"]


def config_of(*overrides):
    (job,) = compose_jobs([*COMMON, *overrides], multirun=False)
    return job.config


def test_whole_numbers_reach_a_network_that_embeds_them():
    built = build(config_of(*TOKENS, "model=network", f"model._target_={HERE}.Embeds"))
    x, y = next(iter(built.data.train_dataloader()))
    assert (x.dtype, tuple(x.shape)) == (torch.int64, (24, 7))
    embedded = built.network.embedding.weight[x].mean(1)
    assert torch.allclose(built.network(x), embedded @ built.network.fc.weight.T + built.network.fc.bias, atol=1e-6)
    assert y.unique().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"^model._target_: the network does not take inputs of shape \(7,\), whole"):
        build(config_of(*TOKENS, "model=network", f"model._target_={HERE}.Embeds", "+model.known=1"))
    with pytest.raises(ValueError, match=r"^dataset: its inputs are whole numbers \(torch.int64\), and the network of"):
        build(config_of(*TOKENS, "model=mlp"))


# 100 = 3 * 33 + 1; of 34, 34, 32 the parts of 11 are 11, 11, 11, 1 and 11, 11, 10.
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*NORMED, "dataset.batch_size=33"], r"^dataset.batch_size=33: the 100 training samples leave a batch "),
        ([*NORMED, "dataset.batch_size=1"], r"^dataset.batch_size=1: .* batch normalisation \(norm\) has no variance"),
        (
            [*NORMED, "dataset.batch_size=34", "trainer.micro_batch=11"],
            r"^trainer.micro_batch=11: a batch of 34 ",
        ),
        ([*NORMED, "trainer.micro_batch=1"], r"^trainer.micro_batch=1: a batch of 100 leaves a part of one sample"),
        (
            [*NORMED, "+model.squeezed=true", "dataset.batch_size=33"],
            r"^dataset.batch_size=33: .* of one sample, which the network does not take: ",
        ),
    ],
)
def test_a_single_sample_is_refused_where_the_network_cannot_train_on_it(overrides, message):
    with pytest.raises(ValueError, match=message) as error:
        build(config_of(*DIGITS, *overrides))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [*NORMED, "dataset.batch_size=34"],
        [*NORMED, "dataset.batch_size=34", "trainer.micro_batch=17"],
        ["model=convnet", "dataset.batch_size=33"],
        ["model=mlp", "dataset.batch_size=33"],
    ],
)
def test_what_torch_trains_on_is_let_through_and_unchanged(overrides):
    built = build(config_of(*DIGITS, *overrides))
    assert all(module.training for module in built.network.modules())
    assert all(int(buffer) == 0 for name, buffer in built.network.named_buffers() if name.endswith("batches_tracked"))
    assert not any(module._forward_pre_hooks for module in built.network.modules() if "Norm" in type(module).__name__)


def test_a_last_part_that_is_forgotten_is_seen(mutant):
    careless = mutant(checks, "size % part == 1", "False")
    config = config_of(*DIGITS, *NORMED, "dataset.batch_size=34", "trainer.micro_batch=11")
    data = build(config_of(*DIGITS, "model=mlp", "dataset.batch_size=34")).data
    assert careless._alone(config, data) is None
    assert checks._alone(config, data) is not None


class InTraining(nn.Module):
    """Does something else while it trains, as networks do that compute their own loss or keep what they have seen."""

    def __init__(self, does):
        super().__init__()
        self.norm, self.last, self.does = nn.BatchNorm1d(64), nn.Linear(64, 10), does
        self.register_buffer("seen", torch.zeros(0, 64))
        self.register_buffer("spread", torch.zeros(1).expand(64))  # cannot be written to
        self.calls = 0

    def forward(self, x):
        hidden = self.norm(x.flatten(1))
        logits = self.last(hidden)
        return self.does(self, hidden, logits) if self.training else logits


def keeps(network, hidden, logits):
    network.calls += 1
    network.seen = torch.cat([network.seen, hidden.detach()])
    network.bound = network.last.weight.detach().mul_(3)  # changes the weight itself
    return logits


def penalised(network, hidden, logits):
    (slope,) = torch.autograd.grad(logits.sum(), hidden, create_graph=True)
    return logits + slope.square().mean()


def whole_batches(network, hidden, logits):
    assert len(hidden) % 4 == 0, "needs parts of four"
    return logits


def test_a_network_is_as_it_was_after_its_trial_in_training_mode():
    network = InTraining(keeps)
    before, draws = copy.deepcopy(network.state_dict()), (torch.get_rng_state(), random.getstate())
    check_training_outputs(network, torch.ones(2, 1, 8, 8), 10)
    after = network.state_dict()
    assert (network.calls, network.training, list(after)) == (0, True, list(before))
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), draws[0])
    assert random.getstate() == draws[1]


@pytest.mark.parametrize(
    "does", [penalised, whole_batches, lambda _, h, z: (z, h), lambda _, h, z: {"loss": z.sum(), "logits": z}]
)
def test_what_trains_or_may_train_with_another_batch_is_let_through(does):
    check_training_outputs(InTraining(does), torch.ones(2, 1, 8, 8), 10)


@pytest.mark.parametrize(
    ("does", "given"),
    [
        (lambda _, h, z: {"loss": z.sum()}, r"a tensor of shape \(\)"),
        (lambda _, h, z: (z.sum(), z), r"a tensor of shape \(\)"),
        (lambda _, h, z: None, "no tensor"),
    ],
)
def test_a_network_without_logits_in_training_mode_alone_is_refused(does, given):
    rule = rf"the network gives {given} in training mode, and not the logits \(2, 10\), as in evaluation mode; it must"
    with pytest.raises(ValueError, match=rf"^_target_: for 2 samples {rule} give them in both$"):
        check_training_outputs(InTraining(does), torch.ones(2, 1, 8, 8), 10)


def test_a_command_with_a_network_that_trains_on_its_own_loss_is_refused():
    target = ["model=network", "model._target_=tests.helpers.whole_networks.OwnLoss"]
    with pytest.raises(ValueError, match=r"^model._target_: for 2 samples .* in training mode, and not the logits"):
        build(config_of(*DIGITS, *target))


def test_a_backbone_that_does_not_flatten_is_refused():
    backbone = ["model=mlp", "~model.backbone.hidden", "model.backbone._target_=tests.helpers.whole_networks.Uneven"]
    message = (
        r"backbone: does not take inputs of .* or gives no \(B, width\): for 2 samples its output is \(2, 1, \d+\)"
    )
    with pytest.raises(ValueError, match=message):
        build(config_of(*DIGITS, *backbone))
