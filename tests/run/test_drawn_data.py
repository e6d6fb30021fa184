"""What the constructor of a Dataset draws: the same whenever the data is made, and whatever the seed of the run."""

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
