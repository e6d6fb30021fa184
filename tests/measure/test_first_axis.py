"""Outputs (T, N, D) with as many positions as samples are not taken for (N, T, D)."""

import pytest
import torch
from torch import nn

from ncbench.measure import first_axis, measure_network
from ncbench.measure.hooks import LayerHooks

N, T, K = 8, 8, 2
X = torch.randn(N, T, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % K


class Tokens(nn.Module):
    """Gives (T, N, D) where `swapped`, else (N, T, D)."""

    def __init__(self, swapped, fixed=False):
        super().__init__()
        self.swapped, self.fixed = swapped, fixed
        self.body = nn.Linear(6, 4)

    def forward(self, x):
        if self.fixed and len(x) != N:
            raise RuntimeError("made for one batch size")
        return self.body(x.transpose(0, 1) if self.swapped else x).sum()


def measured(net, batches, **options):
    return measure_network(net, batches, layers=["body"], num_classes=K, **options)


@pytest.mark.parametrize("reduction", ["flatten", "mean", "cls"])
def test_samples_on_the_second_axis_are_refused(reduction):
    with pytest.raises(ValueError, match=r"layer body \(pre\) has as many positions as the batch has samples \(8\)"):
        measured(Tokens(swapped=True), [(X, Y)], reduction=reduction)


def test_samples_on_the_first_axis_and_a_function_are_measured():
    found = measured(Tokens(swapped=False), [(X, Y)])
    by_function = measured(Tokens(swapped=True), [(X, Y)], reduction=lambda x: x.transpose(0, 1).flatten(1))
    assert len(found) == len(by_function) > 0
    assert len(measured(Tokens(swapped=True, fixed=True), [(X, Y)]))  # a network that takes no other size is believed


@pytest.mark.parametrize("inputs", [{"x": X}, [X], (X,)])
def test_inputs_of_every_form_are_made_smaller(inputs):
    with pytest.raises(ValueError, match="with one sample less its first axis stays as long"):
        measured(Tokens(swapped=True), [(inputs, Y)])


def test_square_inputs_of_a_module_that_takes_the_second_axis_are_refused():
    net = nn.Sequential(nn.RNN(6, 4))
    with pytest.raises(ValueError, match="inputs of 8 samples and 8 positions go to 0 with batch_first=False"):
        measure_network(net, [(X, Y)], layers=["0"], num_classes=K)
    first = nn.Sequential(nn.RNN(6, 4, batch_first=True))
    assert len(measure_network(first, [(X, Y)], layers=["0"], num_classes=K))


def test_a_planted_bug_that_keeps_the_batch_is_seen(mutant):
    bug = mutant(first_axis, "first_samples(inputs, samples - 1, samples)", "inputs")
    with pytest.raises(ValueError, match="has as many positions"):  # now also of what is right
        bug.check_first_axis(LayerHooks(Tokens(swapped=False), ["body"]), X, N)
