"""What only the network and the data together tell, before the first step: inputs it takes, batches it can train on."""

import copy
from typing import Any

from torch import Tensor, enable_grad, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ncbench.config.root import Config
from ncbench.data.draws import drawing
from ncbench.measure.batches import call, logits
from ncbench.measure.evaluation_mode import evaluation
from ncbench.measure.hooks import logits_of
from ncbench.models.whole import take_contiguous

__all__ = ["check_batch_sizes", "check_inputs", "check_training_outputs", "trial_samples"]


def trial_samples(data: Any) -> Tensor:
    """Training inputs (2, ...) of two classes, to try a network with: floats in 32 bits, or whole numbers."""
    x: Tensor
    x, _ = next(iter(data.measure_loader("train", batch_size=2, per_class=1)))
    return x.float() if x.is_floating_point() else x


def check_inputs(config: Config, network: Any, samples: Tensor) -> None:
    """ValueError of one line where a backbone with our head does not take the inputs; it is called with two of them.

    Modules without sizes get theirs here, and draw them from the run's seed. A backbone that views its maps as rows
    gets contiguous inputs.
    """
    try:
        try:
            _call_once(config, network, samples)
        except RuntimeError as error:
            if not take_contiguous(network.features, error):
                raise
            _call_once(config, network, samples)
    except Exception as error:
        if samples.is_floating_point():
            why = " ".join(str(error).split())[:300]
            raise ValueError(
                f"backbone: does not take inputs of shape {tuple(samples.shape[1:])}, or gives no (B, width): {why}"
            ) from error
        raise ValueError(
            f"dataset: its inputs are whole numbers ({samples.dtype}), and the network of model.kind="
            f"{config.model.KIND} takes floats; model=network with a network that embeds them does not"
        ) from error


def _call_once(config: Config, network: Any, samples: Tensor) -> None:
    shapes: list[tuple[int, ...]] = []
    hook = network.features.register_forward_hook(lambda _, __, features: shapes.append(tuple(features.shape)))
    try:
        with drawing(config.seed), evaluation(network):
            call(network, samples.clone())
    finally:
        hook.remove()
    if len(shapes[-1]) != 2:  # a head takes more axes, too, and the loss would pair every sample with every other
        raise ValueError(f"for {len(samples)} samples its output is {shapes[-1]}")


def check_training_outputs(network: nn.Module, samples: Tensor, num_classes: int) -> None:
    """ValueError of one line where a whole network gives logits in evaluation mode but not in training mode.

    So do networks that return their own loss. It is a copy that is called, as a call in training mode may change what a
    network holds (running means, centres, counters). A copy that cannot be made or called says nothing: the network may
    need a whole batch.
    """
    try:
        trial = copy.deepcopy(network).train()
        with drawing(0), enable_grad():
            given = logits_of(trial(samples.clone()))
    except Exception:
        return
    shape = None if given is None else tuple(given.shape)
    if shape != (len(samples), num_classes):
        what = "no tensor" if shape is None else f"a tensor of shape {shape}"
        raise ValueError(
            f"_target_: for {len(samples)} samples the network gives {what} in training mode, and not the logits "
            f"({len(samples)}, {num_classes}), as in evaluation mode; it must give them in both"
        )


def check_batch_sizes(config: Config, network: nn.Module, data: Any, samples: Tensor) -> None:
    """ValueError of one line where a batch, or a part of one, is a single sample and the network cannot train on it.

    Batch normalisation has no variance over one value per channel, which is what a single sample has behind the
    pooling. Over the places of an image it has one, and such a layer is let through.
    """
    found = _alone(config, data)
    if found is None:
        return
    one = samples[:1].to(next((p.dtype for p in network.parameters() if samples.is_floating_point()), samples.dtype))
    norms: dict[nn.Module, str] = {
        m: name for name, m in network.named_modules() if isinstance(m, _BatchNorm) and m.training
    }
    wrong: list[str] = []

    def sees(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            wrong.append(norms[module])

    hooks = [module.register_forward_pre_hook(sees) for module in norms]
    try:
        with evaluation(network):
            if logits(call(network, one), 1, data.num_classes) is None:
                raise ValueError(f"its outputs are not (1, {data.num_classes})")
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise ValueError(f"{found}, which the network does not take: {why}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if wrong:
        raise ValueError(f"{found}, over which batch normalisation ({wrong[0]}) has no variance; choose another size")


def _alone(config: Config, data: Any) -> str | None:
    """Which key makes a batch, a process's share or a part of one sample, and how; None where none does."""
    sizes = getattr(data.train_dataloader(), "sizes", [])
    processes, part, given = config.trainer.devices, config.trainer.micro_batch, config.dataset.arguments()
    shares = {share for size in sizes for share in (size // processes, -(-size // processes))}
    if 1 in shares:
        key = f"batch_size={given['batch_size']}" if "batch_size" in given else f"_target_={given['_target_']}"
        of = "a batch of one sample" if processes == 1 else f"one of trainer.devices={processes} with one sample"
        return f"dataset.{key}: the {len(data.train)} training samples leave {of}"
    divided = [size for size in sizes if part is not None and size > part and (part == 1 or size % part == 1)]
    if divided:
        return f"trainer.micro_batch={part}: a batch of {divided[0]} leaves a part of one sample"
    return None
