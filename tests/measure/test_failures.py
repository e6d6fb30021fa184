"""What is wrong with a call of somebody's class or function, as the end of a sentence."""

import abc
import inspect

import pytest
from torch._utils import ExceptionWrapper

from ncbench import core
from ncbench.measure.failures import message_of, place_of, raised_by_us, unexpected_argument, why_it_fails


class Unfinished(abc.ABC):
    @abc.abstractmethod
    def draw(self): ...


def two(a, *, b):
    raise KeyError(a)


def error_of(function, arguments, options):
    """The error of a call that is made where there is no code of the user's own, as in Hydra."""
    try:
        function(*arguments, **options)
    except Exception as error:
        return error.with_traceback(error.__traceback__.tb_next)  # without this test's own line
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ((two, (), {}), "needs a value for a"),
        ((two, (1,), {}), "needs a value for b"),
        ((lambda a, b, c: 0, (), {}), "needs a value for a, b, and c"),
        ((two, (1, 2, 3), {"b": 4}), "takes fewer arguments than it is given"),
        ((lambda: 0, (1,), {}), "takes fewer arguments than it is given"),
        ((two, (1,), {"a": 2, "b": 3}), "is given a twice"),
        ((two, (1,), {"b": 2, "c": 3}), "takes no argument c"),
        ((Unfinished, (), {}), "cannot be made, as it has no method draw of its own"),
        ((inspect.signature(two).bind, (), {"b": 1}), "needs a value for a"),
        ((inspect.signature(two).bind, (1, 2), {"b": 1}), "takes fewer arguments than it is given"),
        ((inspect.signature(two).bind, (1,), {"b": 1, "c": 2}), "takes no argument c"),
        ((float, ("x",), {}), "fails (could not convert string to float: 'x')"),
        (({}.__getitem__, ("colour",), {}), "fails (there is no key 'colour')"),
        ((compile, ("f(:", "a.py", "exec"), {}), "cannot be read (line 1 of a.py is not written in Python's grammar)"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(call, why):
    error = error_of(*call)
    assert why_it_fails(error) == why
    assert unexpected_argument(error) == ("c" if why == "takes no argument c" else None)


def inner():
    return two()


def empty():
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: two("colour", b=1), "(there is no key 'colour')"),
        (inner, "(two() missing 1 required positional argument: 'a')"),
        (empty, ""),
        (lambda: core.stable_rank(3), None),
    ],
)
def test_what_fails_inside_names_the_last_line_of_ones_own(function, said):
    with pytest.raises((KeyError, TypeError, NotImplementedError, AttributeError)) as raised:
        function()
    error, why = raised.value, why_it_fails(raised.value)
    assert unexpected_argument(error) is None
    assert place_of(error).endswith("test_failures.py")
    assert why.startswith(f"fails in line {place_of(error).split()[1]} of ")
    assert said is None or why == f"fails in {place_of(error)} {said}".rstrip()
    assert raised_by_us(error) == (said is None)


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError])
def test_what_a_worker_of_a_loader_raised_is_said_without_its_traceback(kind):
    try:
        raise kind("train[5]: cannot be read" + (" " if kind is KeyError else "\n  ") + "(no image)")
    except kind:
        raised = ExceptionWrapper(where="in DataLoader worker process 1")
    with pytest.raises(kind) as found:
        raised.reraise()
    assert message_of(found.value).strip("'") == "train[5]: cannot be read (no image)"
    assert "Traceback" in str(found.value)
