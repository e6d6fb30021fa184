"""What constructors of a user's classes draw: of a Dataset the same always, of a network what the run's seed says."""

import random

import numpy as np
import torch

from ncbench.run import build as run_build
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs

OF_A_USER = [
    *("dataset=other", "dataset._target_=tests.helpers.drawn_data.Drawn", "references=[]"),
    *("model.width=8", "model.depth=2", "measure.splits=[train]", "trainer.max_epochs=1", "claims={}"),
]


def samples(builder, *overrides):
    (job,) = compose_jobs([*OF_A_USER, *overrides], multirun=False)
    data = builder(job.config).data
    x, y = zip(*data.measure_loader("train"), strict=True)
    return torch.cat([torch.cat(x).double(), torch.cat(y)[:, None].double()], 1)


def test_a_resumed_run_and_one_of_another_seed_have_the_same_samples(mutant):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = samples(build)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(first, samples(build))
    assert torch.equal(first, samples(build, "seed=1"))
    assert first[:, :8].std() > 0.5
    unseeded = mutant(run_build, 'one_line_errors(config, "dataset"), drawing(0)', 'one_line_errors(config, "dataset")')
    assert not torch.equal(first, samples(unseeded.build))


WIRED = [
    *("dataset=digits", "dataset.per_class=4", "model=network", "model._target_=tests.helpers.whole_networks.Wired"),
    *("objective=standard", "objective.loss=ce", "references=[]", "claims={}", "trainer.max_epochs=1"),
]


def network(builder, *overrides):
    (job,) = compose_jobs([*WIRED, *overrides], multirun=False)
    return builder(job.config).network


def test_every_generator_that_a_network_draws_from_is_seeded_and_left_alone(mutant):
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, again, other = network(build), network(build), network(build, "seed=4")
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert (one.seen, torch.equal(one.first, again.first)) == (again.seen, True)
    assert one.seen != other.seen
    assert not torch.equal(one.first, other.first)
    unseeded = mutant(run_build, "with drawing(config.seed):", "if True:")
    assert network(unseeded.build).seen != network(unseeded.build).seen
