"""A kill before any change of the disk, as an exception that only the test catches."""

import os
from collections.abc import Callable
from typing import Any

import pytest


class Killed(Exception):
    """Raised in place of the change."""


def killed_at(
    monkeypatch: pytest.MonkeyPatch, moment: int, work: Callable[[], object], more: tuple[str, ...] = ()
) -> bool:
    """Do the work with a kill before the n-th change of the disk, of `more` functions of os too; whether it ended."""
    left = [moment]

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return real(*arguments, **options)

        return change

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink", "fsync", *more):
            patched.setattr(os, name, dies(getattr(os, name)))
        try:
            work()
        except Killed:
            return False
    return True
