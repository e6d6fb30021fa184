"""Optimiser and scheduler tried on one parameter before anything is built: their arguments, and what the decay does."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from hydra.utils import instantiate

from ncbench.config.root import Config
from ncbench.config.variants import Target
from ncbench.data.draws import drawing
from ncbench.measure.failures import message_of
from ncbench.run.one_line_errors import one_line_errors
from ncbench.training.decay_trial import weight_decay_of

__all__ = ["try_optimizer", "try_parameters"]

MOST_EPOCHS = 100_000  # after which a scheduler is tried: a second


def try_optimizer(config: Config) -> None:
    """ValueError of one line where optimiser or scheduler do not take their arguments, tried on one parameter."""
    if config.optimizer.line_search:
        return
    with one_line_errors(config, "optimizer"):
        make = instantiate(config.optimizer.arguments())
        made = _of_one_parameter(make)
        _check_made(made, "an optimizer of torch", torch.optim.Optimizer)
        how = weight_decay_of(make) if not config.model.full_batch else ""
        _check_decay(config, how, made.defaults.get("weight_decay"))
    if isinstance(config.schedule, Target):
        with one_line_errors(config, "schedule"), warnings.catch_warnings(action="ignore"):
            scheduler = instantiate(config.schedule.arguments())(made)
            _check_made(scheduler, "a scheduler of torch", torch.optim.lr_scheduler.LRScheduler)
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                raise ValueError(
                    "_target_: ReduceLROnPlateau waits for a value after every epoch, and none is given; use another"
                )
            _step_to_the_end(scheduler, min(config.trainer.max_epochs or 0, MOST_EPOCHS))


def try_parameters(config: Config, module: Any) -> None:
    """ValueError of one line where the optimiser does not take parameters of the network's shapes; it gets others."""
    with one_line_errors(config, "optimizer"), warnings.catch_warnings(action="ignore"), drawing(0):
        groups = [
            {**group, "params": [torch.nn.Parameter(torch.zeros_like(x)) for x in group["params"]]}
            for group in module.parameter_groups()
        ]
        module.make_optimizer(groups)


def _of_one_parameter(make: Callable[[Any], Any]) -> Any:
    """The optimiser of one number, or, where it takes matrices alone (as `torch.optim.Muon`), of one matrix."""
    try:
        return make([torch.nn.Parameter(torch.zeros(1))])
    except ValueError:
        try:
            return make([torch.nn.Parameter(torch.zeros(1, 1))])
        except Exception:
            pass
        raise


def _step_to_the_end(scheduler: Any, epochs: int) -> None:
    """ValueError of one line where a scheduler does not take a step after each epoch, as one of too few steps."""
    for epoch in range(1, epochs + 1):
        try:
            scheduler.step()
        except Exception as error:
            raise ValueError(
                f"_target_: its step after epoch {epoch} of trainer.max_epochs={epochs} fails ({message_of(error)})"
            ) from error


def _check_decay(config: Config, how: str, own: float | None) -> None:
    """ValueError of one line where an optimiser leaves the decay out, adds one, or has another than the objective."""
    decay, target = getattr(config.objective, "weight_decay", 0), config.optimizer.arguments()["_target_"]
    if config.model.full_batch and own:
        raise ValueError(f"_target_={target}: decays by {own} what the gradient of the objective decays already")
    if how == "none" and any(decay if isinstance(decay, list | tuple) else [decay]):
        raise ValueError(
            f"objective.weight_decay={decay}: acts through the optimiser, and {target} has no weight decay; use 0, or "
            "another optimiser"
        )
    if how == "other" and config.references:
        raise ValueError(
            f"_target_={target}: its weight decay is no part of the gradient and has other stationary points than the "
            "objective, so no theory line may be drawn; use references=[] to train without the lines"
        )


def _check_made(made: Any, wanted: str, kind: type) -> None:
    if not isinstance(made, kind):
        given = "None" if made is None else f"a value of type {type(made).__name__}"
        raise ValueError(f"_target_: gives {given}, and not {wanted}")
