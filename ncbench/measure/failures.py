"""Why a call of somebody's class or function fails, as the end of a sentence, for messages that name the user's key."""

import re
import sysconfig
import traceback
from pathlib import Path

__all__ = ["is_own_bug", "message_of", "place_of", "raised_by_us", "unexpected_argument", "why_it_fails"]

# Code of these folders is not the user's own: this package, the standard library, and what is installed.
_NOT_OWN = (Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")))
_UNEXPECTED = r"unexpected keyword argument '(\w+)'"
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b:? ?", re.MULTILINE)  # behind a traceback
# What Python says of a call whose arguments do not fit, and the same about the class or function.
_OF_ARGUMENTS = (
    (r"missing (?:\d+ required .*?|a required )arguments?: (.+)", "needs a value for {}"),
    (_UNEXPECTED, "takes no argument {}"),
    (r"got multiple values for (?:keyword )?argument '(\w+)'", "is given {} twice"),
    (r"Can't instantiate abstract class .*?methods? (.+)", "cannot be made, as it has no method {} of its own"),
    (r"takes .*positional arguments? but|too many positional arguments()", "takes fewer arguments than it is given"),
)


def message_of(error: BaseException) -> str:
    """What an exception says, in one line; of one in a DataLoader's worker, which says a traceback, what is behind it.

    >>> message_of(ValueError("Caught ValueError in DataLoader worker process 0.\\n...\\nValueError: no image"))
    'no image'
    """
    text = str(error)
    if re.match(r"Caught \w+ in DataLoader worker process", text):
        *_, text = _RAISED.split(text)
    return " ".join(text.split())


def why_it_fails(error: BaseException) -> str:
    """What is wrong with the call that raised: "needs a value for width", "fails in line 3 of mine.py (no colour)".

    Where the arguments do not fit, which they are; else the last line of the user's own code that was reached, if any,
    and what the exception says.
    """
    text = message_of(error)
    if isinstance(error, SyntaxError) and error.filename:
        return f"cannot be read (line {error.lineno} of {_shown(error.filename)} is not written in Python's grammar)"
    place = place_of(error)
    if isinstance(error, TypeError) and place is None:
        for pattern, rule in _OF_ARGUMENTS:
            if found := re.search(pattern, text):
                return rule.format((found[1] or "").replace("'", ""))
    if isinstance(error, KeyError):
        text = f"there is no key {text}"
    return f"fails{f' in {place}' if place else ''}{f' ({text})' if text else ''}"


def unexpected_argument(error: BaseException) -> str | None:
    """The argument that the class or function which was called does not take, if that is what is wrong."""
    found = re.search(_UNEXPECTED, str(error)) if isinstance(error, TypeError) else None
    return found[1] if found and place_of(error) is None else None


def place_of(error: BaseException) -> str | None:
    """The last line of the user's own code that was reached, "line 3 of mine.py"; None where there was none."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    return f"line {own[-1].lineno} of {_shown(own[-1].filename)}" if own else None


def raised_by_us(error: BaseException) -> bool:
    """Whether the error is one of this package's own, which names what it is about."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(_NOT_OWN[0])


def is_own_bug(error: BaseException) -> bool:
    """Whether this package is at fault: it called its own code, which raised something else than a ValueError.

    That a call's arguments do not fit is raised where the call stands, and is no fault of what was called.
    """
    called = error.__traceback__ is not None and error.__traceback__.tb_next is not None
    return called and not isinstance(error, ValueError) and place_of(error) is None and raised_by_us(error)


def _is_own(filename: str) -> bool:
    path = Path(filename)
    return path.is_file() and not any(path.is_relative_to(folder) for folder in _NOT_OWN)


def _shown(filename: str) -> str:
    path, here = Path(filename), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name
