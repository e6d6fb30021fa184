"""Initial values of the last linear map of a backbone that are taken from data."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ncbench.measure.evaluation_mode import evaluation

__all__ = ["center_features", "first_samples"]

SAMPLES = 1000  # of all classes together: the mean of 64 features to some 3 % of their standard deviation


def first_samples(data: Any) -> Tensor:
    """The first training inputs of every class, equally many of each and some 1000 in all, without augmentation."""
    per_class = max(1, SAMPLES // int(data.num_classes))
    x: Tensor
    x, _ = next(iter(data.measure_loader("train", batch_size=per_class * int(data.num_classes), per_class=per_class)))
    return x


@torch.no_grad()
def center_features(features: nn.Module, inputs: Tensor, variance: float) -> None:
    """Shifts and scales the last linear map of a backbone so that its outputs h have mean zero and a given variance.

    Afterwards mean h = 0 and mean ||h||^2 = `variance` over `inputs` (B, ...), up to rounding: with m = mean h and
    v = mean ||h - m||^2 before, the map h = A z + b becomes sqrt(variance / v) (A z + b - m). It is a data-dependent
    initialisation, as those of Mishkin and Matas (2016, LSUV) and Kraehenbuehl et al. (2016).

    What lies behind a ReLU and an average is non-negative, so that at random weights the mean of all classes is most of
    it, and for a ResNet on images ||h||^2 is 50 and more, where optima of the papers' objectives have less than 1. The
    first steps shrink the features, and a direction that tells classes apart begins at a hundredth of its final size. A
    head that is decayed meanwhile may forget it for good.

    Batch normalisation uses the statistics of `inputs`, as a first step does, and its buffers stay as they are; dropout
    is off. ValueError unless the outputs are those of an nn.Linear with a bias, and where they are all the same.
    """
    found = {name: m for name, m in features.named_modules() if isinstance(m, nn.Linear) and m.bias is not None}
    outputs: dict[str, Tensor] = {}
    hooks = [
        linear.register_forward_hook(lambda _m, _x, y, name=name: outputs.__setitem__(name, y))
        for name, linear in found.items()
    ]
    buffers = {name: buffer.clone() for name, buffer in features.named_buffers()}
    try:
        with evaluation(features):
            for module in features.modules():
                if isinstance(module, _BatchNorm):
                    module.train()
            h = features(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for name, buffer in features.named_buffers():
            buffer.copy_(buffers[name])
    last = [name for name, y in outputs.items() if y is h]
    if len(last) != 1:
        raise ValueError(
            f"model.init_feature_variance={variance}: needs a backbone that ends with a linear map with a bias"
        )
    linear = found[last[0]]
    mean = h.double().mean(0)
    before = (h.double() - mean).square().sum(1).mean().item()
    if not (math.isfinite(before) and before > 0):
        raise ValueError(f"model.init_feature_variance={variance}: the features start with variance {before}")
    scale = math.sqrt(variance / before)
    linear.weight.mul_(scale)
    linear.bias.copy_(((linear.bias.double() - mean) * scale).to(linear.bias.dtype))
