"""What is refused before the first step: whole numbers for a network of floats, a batch that is a single sample."""

import pytest
import torch

from ncbench.run import checks
from ncbench.run.build import build
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
