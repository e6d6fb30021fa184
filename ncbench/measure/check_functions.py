"""A user's own measures, tried on random features before anything is trained.

A measure that fails during a training is NaN, and the training goes on. A function that can never work is better
refused at once: one that does not take what it is given, or whose result is not one number per network.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ncbench import core
from ncbench.measure.failures import why_it_fails
from ncbench.measure.measures import MatrixMeasure, MomentMeasure
from ncbench.measure.names import ALWAYS, KNOWN
from ncbench.measure.second_pass import SECOND_PASSES
from ncbench.measure.value_or_nan import one_number

__all__ = ["check_functions"]

PER_CLASS = 3
SECOND = f"{', '.join(SECOND_PASSES)} need a second pass over the data and are asked for by name, in measures"
MOST_CLASSES = 1000  # of more the random features would fill the memory
TEN = 10  # classes, which a function may need that does not take every number of them
ERRORS = (TypeError, AttributeError, ValueError)  # by which a function of moments says that it can never work
WIDTH = 64  # at least: functions that look at several singular values find them


def check_functions(
    moments: Mapping[str, MomentMeasure],
    matrices: Mapping[str, MatrixMeasure],
    num_classes: int,
    *,
    has_replica_axis: bool = False,
) -> None:
    """ValueError of one line unless every function takes its argument and gives one number per network.

    Each is called once, on standard normal features of K classes (at most 1000; of two replicas where the network has a
    replica axis) or on a standard normal matrix. What depends on the size of a layer is left to the measurement: errors
    of torch, and for matrices every ValueError. Refused are also names of the measures that are always there.
    """
    for kind, functions in (("moments", moments), ("matrices", matrices)):
        for name in functions:
            if name in ALWAYS:
                raise ValueError(f"{kind}={name}: {name} is the name of a measure that is always there; choose another")
    if not moments and not matrices:
        return
    tried = min(num_classes, MOST_CLASSES)
    leading = torch.Size((2,) if has_replica_axis else ())
    class_moments = _moments(tried, leading)
    of_matrix, width = leading or torch.Size((1,)), max(tried + 1, WIDTH)
    matrix = torch.randn(*of_matrix, width, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for name, function in moments.items():
        reason = _failure(function, class_moments, leading, ERRORS)
        if reason:
            if tried != TEN and _failure(function, _moments(TEN, leading), leading, ERRORS) is None:
                if tried < num_classes:  # it may take as many as the data has
                    continue
                raise ValueError(
                    f"moments={name} cannot be measured on data of {num_classes} classes, as it can of {TEN}: {reason}"
                    "; leave it out, or take other classes"
                )
            fits_there = _failure(function, matrix, of_matrix, (Exception,)) is None
            there = "it takes a matrix, so give it under matrices" if fits_there else ""
            raise ValueError(
                f"moments={name} must be a function of ClassMoments (with scatter='trace') that gives one number "
                f"per network, but {reason}; {_advice(name, function) or there or SECOND}"
            )
    for name, function in matrices.items():
        reason = _failure(function, matrix, of_matrix, (TypeError, AttributeError))
        if reason:
            fits_there = _failure(function, class_moments, leading, (Exception,)) is None
            there = "it takes class moments, so give it under moments" if fits_there else ""
            advice = _advice(name, function) or there
            raise ValueError(
                f"matrices={name} must be a function of a matrix (with leading axes) that gives one number per "
                f"network, but {reason}" + (f"; {advice}" if advice else "")
            )


def _moments(num_classes: int, leading: torch.Size) -> core.ClassMoments:
    """Of standard normal features, a few of each class."""
    labels = torch.arange(num_classes).repeat_interleave(PER_CLASS)
    generator = torch.Generator().manual_seed(0)
    width = max(num_classes + 1, WIDTH)
    features = torch.randn(*leading, len(labels), width, generator=generator, dtype=torch.float64)
    return core.ClassMoments.from_batch(features, labels, num_classes)


def _advice(name: str, function: Callable[[Any], Any]) -> str:
    """What to ask for instead of a function of `ncbench.core` that is a measure by name."""
    own = getattr(getattr(function, "func", function), "__name__", "")
    known = next((word for word in (own, name) if word in KNOWN), None)
    return f"{known} is asked for by name, measures=[{known}]" if known else ""


def _failure(
    function: Callable[[Any], Any], argument: Any, leading: torch.Size, refused: tuple[type[Exception], ...]
) -> str | None:
    """What is wrong with a function, as the end of a sentence; None where nothing is, or nothing can be said yet."""
    try:
        with torch.no_grad():
            value = function(argument)
    except refused as error:
        return f"on random features it {why_it_fails(error)}"
    except Exception as error:
        # A function of a number never works; another one may work on the layers of this network.
        number = re.search("converted to (a )?(Python )?scalar", str(error), re.IGNORECASE)
        return "it is a function of one number" if number else None
    try:
        one_number(value, leading)
    except ValueError as error:
        return str(error)
    return None
