"""Networks of anybody's: memory layouts, modes and arguments by place."""

from copy import deepcopy
from functools import partial

import torch
from torch import nn

from ncbench.models import whole
from tests.helpers.whole_networks import Functional, Views
from tests.models.test_whole import made

IMAGES = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)


def test_a_network_that_views_its_maps_gets_contiguous_inputs(mutant):
    network = made(Views, input_shape=(3, 8, 8), samples=IMAGES)
    assert network.conv.weight.is_contiguous()
    with torch.no_grad():
        maps = torch.relu(nn.functional.conv2d(IMAGES, network.conv.weight, network.conv.bias, padding=1))
        expected = network.fc(torch.max_pool2d(maps, 2).reshape(2, -1))
        assert torch.allclose(network(IMAGES), expected, atol=1e-6)
        assert torch.equal(deepcopy(network)(IMAGES), network(IMAGES))
    # An image of one channel is in both layouts at once: its strides decide which one the convolution takes.
    strided = torch.rand(2, 8, 8, 1).permute(0, 3, 1, 2)
    assert strided.is_contiguous()
    for samples in (strided, torch.rand(2, 1, 8, 8)):
        assert made(Views, samples=samples)(strided).shape == (2, 10)


def test_other_networks_keep_the_faster_layout():
    network = made(Functional, input_shape=(3, 8, 8), samples=IMAGES)
    assert network.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not network.conv.weight.is_contiguous()
    assert not network._forward_pre_hooks


class Frozen(Functional):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        self.norm.eval()


def test_frozen_parts_stay_frozen_and_a_network_in_evaluation_mode_is_trained():
    network = made(Frozen)
    assert (network.training, network.norm.training, network.drop.training) == (True, False, True)
    network = made(partial(lambda **of_data: Functional(**of_data).eval(), in_channels=1, num_classes=10))
    assert all(module.training for module in network.modules())


def test_arguments_by_place_are_not_given_twice():
    network = made(partial(Functional, 1, 10))
    assert (network.conv.in_channels, network.fc.out_features) == (1, 10)
    assert whole._arguments(partial(Functional, 1), {}, whole.of_data((1, 8, 8), 10)) == {"num_classes": 10}
