"""A network of anybody's, taken as it is: made with a seed of its own, told what the data is, and tried once."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["of_data", "seeded", "take_contiguous", "whole_network"]


_VIEW = "view size is not compatible"  # torch, of a view that the layout of a tensor does not allow
_BY_NAME = ("num_classes", "input_shape", "in_channels", "in_chans")  # given to whatever has such an argument


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random values of the CPU from a seed; torch's global generators are afterwards as they were.

    So an initialisation neither depends on the global generator nor changes it, and is the same for every device.
    """
    # The generator itself, not torch.manual_seed: that would reseed the GPUs as well.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield


def of_data(input_shape: tuple[int, ...], num_classes: int) -> dict[str, Any]:
    """What a network may be told of the data, by the names under which libraries ask for it.

    >>> of_data((3, 32, 32), 10)
    {'num_classes': 10, 'input_shape': (3, 32, 32), 'in_channels': 3, 'in_chans': 3, 'image_size': 32}
    """
    channels = input_shape[0]
    known = {"num_classes": num_classes, "input_shape": tuple(input_shape), "in_channels": channels}
    return known | {"in_chans": channels, "image_size": input_shape[-1]}


def whole_network(
    make: Callable[..., Any],
    *,
    from_data: Mapping[str, str],
    input_shape: tuple[int, ...],
    num_classes: int,
    seed: int,
    watch: Callable[[nn.Module], AbstractContextManager[Any]] = nullcontext,
    samples: Tensor | None = None,
) -> nn.Module:
    """The network that a class or function makes, in training mode, its kernels channels_last where it takes them.

    Args:
        make: called with keyword arguments; a functools.partial that holds those which a configuration gives, or a
            function of no arguments that returns such a partial (so that its parts are made with the seed too).
        from_data: argument -> which entry of `of_data` it is, for arguments that have another name there or that are
            hidden behind **kwargs. What `make` names among its arguments (`num_classes`, `input_shape`, `in_channels`,
            `in_chans`) it is given anyway, unless the configuration gives it.
        input_shape, num_classes: of the data.
        seed: of what the making draws from torch; of Python's and NumPy's generators the caller has to take care.
        watch: a context around each call, for what looks at the modules that it calls.
        samples: (B, *input_shape), inputs of the data to try the network with, floats in 32 bits or whole numbers; None
            for two of zeros.

    Returns:
        A module that has been called on the samples in evaluation mode: lazy modules have their sizes.

    Raises:
        ValueError: what is made is no nn.Module, does not take the samples, or gives no (B, num_classes).
    """
    with seeded(seed):
        made = make()
        network = made(**_arguments(made, from_data, of_data(input_shape, num_classes))) if callable(made) else made
        if not isinstance(network, nn.Module):
            given = "None" if network is None else f"a value of type {type(network).__name__}"
            raise ValueError(f"_target_: gives {given}, and not a torch.nn.Module")
        _check_hookable(network)
        _try_layouts(network, torch.zeros(2, *input_shape) if samples is None else samples, num_classes, watch)
    if not network.training:  # as loaders of pretrained weights return it; parts in evaluation mode are frozen ones
        network.train()
    return network


def _arguments(make: Any, from_data: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """What `make` is told of the data: what it names, and what the configuration asks for."""
    by_place, given = (make.args, make.keywords) if isinstance(make, partial) else ((), {})
    try:
        parameters = [*inspect.signature(make.func if isinstance(make, partial) else make).parameters.values()]
    except (TypeError, ValueError):  # a class without a readable signature
        parameters = []
    left = [p for i, p in enumerate(parameters) if i >= len(by_place) or p.kind is p.KEYWORD_ONLY]
    by_name = {p.name for p in left if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    asked: dict[str, str] = {name: name for name in _BY_NAME if name in by_name}
    for argument, what in from_data.items():
        if what not in known:
            raise ValueError(f"from_data: {argument}={what} must be one of {', '.join(known)}")
    return {name: known[what] for name, what in (asked | dict(from_data)).items() if name not in given}


def _check_hookable(network: nn.Module) -> None:
    """ValueError for compiled modules, which call no hooks, and for wrappers of several devices."""
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"_target_: {name or 'the network'} is made by torch.jit, which takes no forward hooks, so that "
                "nothing could be measured; give the module that it was made of"
            )
        if isinstance(getattr(module, "_orig_mod", None), nn.Module) or getattr(module, "_compiled_call_impl", None):
            raise ValueError(
                f"_target_: {name or 'the network'} is made by torch.compile, whose code does not run the forward "
                "hooks by which a network is trained and measured; give the module that it was made of"
            )
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(
            f"_target_: gives a {type(network).__name__}; give the network inside it, as trainer.devices decides on "
            "how many devices it trains"
        )


def _try_layouts(
    network: nn.Module,
    samples: Tensor,
    num_classes: int,
    watch: Callable[[nn.Module], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Make the kernels channels_last, which is faster, unless the network then fails, as x.view(B, -1) of maps does.

    Such a network gets contiguous inputs and kernels: its first hook brings every input into that layout.
    """

    def tried() -> None:
        with watch(network):
            _try(network, samples, num_classes)

    try:
        tried()
        _lay_out(network, torch.channels_last)
        tried()
    except ValueError as error:
        if not take_contiguous(network, error):
            raise
        tried()


def take_contiguous(network: nn.Module, error: Exception) -> bool:
    """Give a network contiguous inputs and kernels where it failed for want of them, and say whether it did."""
    if _VIEW not in str(error):
        return False
    _lay_out(network, torch.contiguous_format)
    network.register_forward_pre_hook(_contiguous)
    return True


def _lay_out(network: nn.Module, layout: torch.memory_format) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # alone: a parameter of five dimensions has no such layout
            module.to(memory_format=layout)


def _contiguous(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # Flat first: an image of one channel counts as contiguous whatever its strides, and torch goes by these.
    return tuple(x.contiguous().view(-1).view(x.shape) if isinstance(x, Tensor) else x for x in inputs)


def _try(network: nn.Module, samples: Tensor, num_classes: int) -> None:
    """One call in evaluation mode; ValueError where it fails or gives something else than (B, num_classes).

    Afterwards every module is in the mode in which it was.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            output = network(samples.clone())
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        kind = "" if samples.is_floating_point() else f", whole numbers ({samples.dtype})"
        raise ValueError(
            f"_target_: the network does not take inputs of shape {tuple(samples.shape[1:])}{kind}: {why}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    if output is None or (isinstance(output, Mapping) and "logits" not in output):
        what = "nothing (None)" if output is None else f"a mapping with {', '.join(map(str, output)) or 'no key'}"
        raise ValueError(f"_target_: the network gives {what}; it must give the logits, in a mapping as `logits`")
    given = output["logits"] if isinstance(output, Mapping) else output[0] if _several(output) else output
    shape, B = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__, len(samples)
    if shape != (B, num_classes):
        raise ValueError(
            f"_target_: for {B} samples the network gives {shape}, and not ({B}, {num_classes}), a number for every "
            f"class; name its argument for the classes, as in +model.num_classes={num_classes}"
        )


def _several(output: Any) -> bool:
    return isinstance(output, tuple | list) and len(output) > 0
