"""Sizes by hand, shapes, no ReLU at the end, none in place."""

import pytest
import torch
from torch import nn

from ncbench.models import ResNet18, ResNet20, SmallConvNet, SmallMLP

BACKBONES = [SmallMLP, SmallConvNet, ResNet20, ResNet18]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_resnet20_has_the_parameters_of_the_paper():
    # Convolutions: 432 + 6 * 2304 + (4608 + 5 * 9216) + (18432 + 5 * 36864) = 267 696; batch normalisation:
    # 2 * (7 * 16 + 6 * 32 + 6 * 64) = 1 376; linear: 650. He et al. 2016, Table 6: 0.27 M.
    network = ResNet20(input_shape=(3, 32, 32), output_width=10)
    assert size(network) == 269_722
    assert size(ResNet20(input_shape=(1, 28, 28), output_width=10)) == 269_722 - 288
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 20
    assert all(m.bias is None for m in layers[:-1])


def test_resnet18_has_the_parameters_of_its_form_for_cifar():
    # Convolutions: 1 728 + 4 * 36 864, then per stage c -> 2c (9 * 2c + 3 * 9 * 4c + 2c) c for c = 64, 128, 256; batch
    # normalisation 2 (5 * 64 + 5 * 128 + 5 * 256 + 5 * 512) = 9 600; linear 5 130. In all 11 173 962, as kuangliu's.
    network = ResNet18(input_shape=(3, 32, 32), output_width=10)
    convolutions = 1_728 + 4 * 36_864 + sum((18 + 108 + 2) * c * c for c in (64, 128, 256))
    assert size(network) == convolutions + 9_600 + 5_130 == 11_173_962
    assert size(ResNet18(input_shape=(1, 28, 28), output_width=10, bias=False)) == 11_173_962 - 2 * 576 - 10
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 18 + 3  # and the three convolutions of the shortcuts
    maps = network.stage4(network.stage3(network.stage2(network.stage1(network.stem(torch.randn(2, 3, 32, 32))))))
    assert maps.shape == (2, 512, 4, 4)


def test_resnet18_is_the_naive_forward_pass():
    network = ResNet18(input_shape=(3, 16, 16), output_width=4).eval()
    parameters = dict(network.state_dict())
    for name, buffer in parameters.items():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)

    def conv_bn(x, conv, bn, stride, padding):
        x = nn.functional.conv2d(x, parameters[f"{conv}.weight"], stride=stride, padding=padding)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (parameters[f"{bn}.{name}"].view(1, -1, 1, 1) for name in names)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    images = torch.randn(3, 3, 16, 16)
    x = conv_bn(images, "stem.0", "stem.1", 1, 1).relu()
    for stage in (1, 2, 3, 4):
        for block in range(2):
            at, stride = f"stage{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = conv_bn(x, f"{at}.conv1", f"{at}.bn1", stride, 1).relu()
            y = conv_bn(y, f"{at}.conv2", f"{at}.bn2", 1, 1)
            x = conv_bn(x, f"{at}.shortcut.0", f"{at}.shortcut.1", 2, 0) if stride == 2 else x
            x = (x + y).relu()
    expected = x.mean((2, 3)) @ parameters["output.weight"].T + parameters["output.bias"]
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_sizes_of_the_small_ones():
    assert size(SmallMLP(input_shape=(1, 8, 8), output_width=64)) == 65 * 128 + 129 * 128 + 129 * 64
    convs = 28 * 16 + (144 + 1) * 32 + (288 + 1) * 64
    assert size(SmallConvNet(input_shape=(3, 32, 32), output_width=20)) == convs + 65 * 20
    assert size(SmallMLP(input_shape=(1, 2, 2), output_width=3, hidden=[])) == 15
    assert size(SmallConvNet(input_shape=(1, 8, 8), output_width=3, channels=[2])) == 20 + 9


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_features_have_both_signs(backbone, shape):
    features = backbone(input_shape=shape, output_width=24)(torch.randn(16, *shape))
    assert features.shape == (16, 24)
    assert isinstance(backbone(input_shape=shape, output_width=24).output, nn.Linear)
    assert (features < 0).any()
    assert (features > 0).any()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_relu_works_in_place(backbone):
    network = backbone(input_shape=(3, 32, 32), output_width=24)
    relus = [m for m in network.modules() if isinstance(m, nn.ReLU)]
    assert relus
    assert not any(getattr(m, "inplace", False) for m in network.modules())
    # What a hook keeps of the output of every module is still the same after the forward pass.
    kept = []
    for module in network.modules():
        module.register_forward_hook(lambda m, inputs, output: kept.append((output, output.clone())))
    network(torch.randn(4, 3, 32, 32))
    assert all(torch.equal(output, copy) for output, copy in kept)


def test_resnet20_is_the_naive_forward_pass():
    network = ResNet20(input_shape=(3, 32, 32), output_width=12).eval()
    parameters = dict(network.state_dict())

    def conv_bn(x, conv, bn, stride):
        x = nn.functional.conv2d(x, parameters[f"{conv}.weight"], stride=stride, padding=1)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (parameters[f"{bn}.{name}"].view(1, -1, 1, 1) for name in names)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    for name, buffer in parameters.items():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    images = torch.randn(3, 3, 32, 32)
    x = conv_bn(images, "stem.0", "stem.1", 1).relu()
    for stage in (1, 2, 3):
        for block in range(3):
            stride = 2 if stage > 1 and block == 0 else 1
            at = f"stage{stage}.{block}"
            y = conv_bn(x, f"{at}.conv1", f"{at}.bn1", stride).relu()
            y = conv_bn(y, f"{at}.conv2", f"{at}.bn2", 1)
            if stride == 2:
                shortcut = torch.zeros_like(y)
                quarter = y.shape[1] // 4
                shortcut[:, quarter:-quarter] = x[:, :, ::2, ::2]
                x = shortcut
            x = (x + y).relu()
    expected = x.mean((2, 3)) @ parameters["output.weight"].T + parameters["output.bias"]
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", [SmallConvNet, ResNet20])
def test_kernels_are_channels_last_also_after_loading(backbone):
    network = backbone(input_shape=(3, 32, 32), output_width=8)
    network.load_state_dict({k: v.contiguous() for k, v in network.state_dict().items()})
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)


def test_initialisation_has_the_published_scale():
    kernels = ResNet20(input_shape=(3, 32, 32), output_width=8).stage3[1].conv1.weight
    assert abs(float(kernels.detach().std()) / (2 / (64 * 9)) ** 0.5 - 1) < 0.03


def test_the_scale_of_the_kernels_changes_how_fast_they_turn_and_not_the_function():
    """Batch normalisation takes the scale out; the gradient of a kernel s times as small is 1/s times as large."""
    networks = []
    for scale in (1.0, 0.5):
        torch.manual_seed(0)
        networks.append(ResNet20(input_shape=(3, 32, 32), output_width=8, kernel_scale=scale).double())
    one, half = networks
    assert torch.equal(half.stage2[0].conv1.weight, 0.5 * one.stage2[0].conv1.weight)
    x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first, second = one(x), half(x)
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)  # up to the epsilon of batch normalisation
    first.square().sum().backward()
    second.square().sum().backward()
    ratio = half.stage2[0].conv1.weight.grad.norm() / one.stage2[0].conv1.weight.grad.norm()
    assert float(ratio) == pytest.approx(2.0, rel=1e-2)
    with pytest.raises(ValueError, match=r"kernel_scale=0.0 must be a number > 0"):
        ResNet20(input_shape=(3, 32, 32), output_width=8, kernel_scale=0.0)
