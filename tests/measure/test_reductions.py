"""Which axis is averaged, where a shape alone does not say it."""

import pytest
import torch
from torch import nn

from ncbench.core import ClassMoments
from ncbench.measure import measure_network, reductions
from ncbench.measure.reductions import choose, class_moments, reducer

T, D = 5, 8


def reduced(reduction, layer, x):
    return reducer(reduction, layer, "layer")(layer(x))


class ChannelsLast(nn.Module):
    """Images as (N, H, W, C), as in some vision transformers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(D)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.Conv2d(3, D, 1), (2, 3, 4, 4), (2, 3)),
        (nn.Conv1d(3, D, 1), (2, 3, T), (2,)),
        (nn.Conv1d(3, D, 1), (2, 3, D), (2,)),  # as many positions as channels: the kind decides
        (nn.Sequential(nn.Conv1d(3, D, 1), nn.BatchNorm1d(D), nn.ReLU()), (2, 3, T), (2,)),
        (nn.Conv3d(1, D, 1), (2, 1, 2, 3, 4), (2, 3, 4)),
        (nn.Linear(3, D), (2, T, 3), (1,)),
        (nn.Sequential(nn.Linear(3, D), nn.GELU()), (2, D, 3), (1,)),
        (ChannelsLast(), (2, 4, 6, D), (1, 2)),
        (nn.Sequential(nn.Linear(3, D), nn.Linear(D, 4)), (2, 4, 4, 3), (1, 2)),
        (nn.Sequential(nn.Conv2d(3, D, 2, 2), nn.Flatten(2)), (2, 3, 4, 4), (2,)),
        (nn.ReLU(), (2, D, 4, 4), (2, 3)),
        (nn.ReLU(), (2, T, D), (1,)),
    ],
)
def test_mean_over_positions(layer, shape, axes):
    x = torch.randn(shape)
    expected = layer(x).mean(axes)
    assert torch.allclose(reduced("mean", layer, x), expected, atol=1e-6)


def test_a_width_that_only_one_axis_has_outweighs_the_kind():
    # A ConvNeXt block ends in a linear map and a permutation back to channels first.
    class Permuted(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, D)

        def forward(self, x):
            return self.linear(x).permute(0, 3, 1, 2)

    layer, x = Permuted(), torch.randn(2, 4, 5, 3)
    assert torch.allclose(reduced("mean", layer, x), layer(x).mean((2, 3)), atol=1e-6)


def test_literals():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])  # one sample, two tokens
    same = nn.Identity()
    assert reduced("flatten", same, tokens).tolist() == [[1.0, 2.0, 3.0, 6.0]]
    assert reduced("mean", same, tokens).tolist() == [[2.0, 4.0]]
    assert reduced("cls", same, tokens).tolist() == [[1.0, 2.0]]
    assert reduced(lambda x: x[:, -1], same, tokens).tolist() == [[3.0, 6.0]]
    for name in ("flatten", "mean", "cls"):
        assert reduced(name, same, tokens[0]).tolist() == tokens[0].tolist()  # (N, D) already
        assert reduced(name, same, torch.tensor([1.0, 2.0])).tolist() == [[1.0], [2.0]]  # one number per sample


def test_cls_is_refused_where_there_are_no_tokens():
    for layer, shape in ((nn.Conv2d(3, D, 1), (2, 3, 4, 4)), (nn.Conv1d(3, D, 1), (2, 3, T))):
        with pytest.raises(ValueError, match="reduction=cls needs a token sequence .N, T, D., but layer layer gives"):
            reduced("cls", layer, torch.randn(shape))


def test_a_mapping_takes_the_first_glob_that_matches():
    mapping = {"stage*": "mean", "stage1": "cls", "blocks.*": "cls"}
    assert [choose(mapping, name) for name in ("stage1", "blocks.3", "fc")] == ["mean", "cls", "flatten"]
    assert choose("mean", "anything") == "mean"


def test_a_planted_bug_that_trusts_the_number_of_axes_is_seen(mutant):
    bug = mutant(reductions, "    return x.ndim > 3 if kind is None else kind", "    return x.ndim > 3").reducer
    layer, x = nn.Conv1d(3, D, 1), torch.randn(2, 3, D)
    assert not torch.allclose(bug("mean", layer, "layer")(layer(x)), layer(x).mean(2))


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "another": lambda x: x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
    "not dense": lambda x: torch.cat([x, x], 3)[..., ::2] * 1.0 + 0 * x,
    "sliced": lambda x: torch.cat([x, x], 3)[..., : x.shape[3]],
    "one sample's": lambda x: x.to(memory_format=torch.channels_last)[:1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_moments_of_maps_do_not_depend_on_their_layout_in_memory(layout):
    x = LAYOUTS[layout](torch.randn(9, 3, 4, 5))
    labels = torch.arange(len(x)) % 3
    found, expected = class_moments(x, labels, 3), ClassMoments.from_batch(x.flatten(1), labels, 3)
    assert torch.equal(found.shift, expected.shift)
    assert torch.allclose(found.offset, expected.offset, rtol=1e-14)
    assert torch.allclose(found.within_trace, expected.within_trace, rtol=1e-13)


def test_a_planted_bug_that_keeps_the_order_of_the_memory_is_seen(mutant):
    bug = mutant(reductions, "if order == list(range(1, x.ndim)):", "if order:").class_moments
    x, labels = LAYOUTS["channels last"](torch.randn(9, 3, 4, 5)), torch.arange(9) % 3
    assert not torch.equal(bug(x, labels, 3).shift, class_moments(x, labels, 3).shift)


def test_batches_of_several_layouts_merge():
    conv, x, labels = nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(12, 3, 6, 6), torch.arange(12) % 3
    batches = [(x[:5].to(memory_format=torch.channels_last), labels[:5]), (x[5:], labels[5:])]
    found, expected = (
        measure_network(conv, data, layers=["0"], num_classes=3, measures=["nc1"]).set_index(["measure", "index"]).value
        for data in (batches, [(x, labels)])
    )
    for name in ("tcv", "dnc1", "dnc2", "nc1"):
        assert found[name].iloc[0] == pytest.approx(expected[name].iloc[0], rel=1e-5)
