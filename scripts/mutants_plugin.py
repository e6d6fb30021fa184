"""For pytest, while `mutants.py` has a bug in the package: what counts as caught, and that it is this package."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

# tests/conftest.py: the fixture `mutant` wants the text that it replaces to be there exactly once.
NOT_THERE = "the text to plant a bug in occurs"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """A test that misses the text for a bug of its own has seen a change, and not that anything is wrong."""
    try:
        return (yield)
    except AssertionError as error:
        if str(error).startswith(NOT_THERE):
            pytest.skip("it plants a bug in the same text")
        raise


def pytest_collection_finish(session: pytest.Session) -> None:
    """The tests must have imported the copy's package; another would pass whatever is planted."""
    package = sys.modules.get("ncbench")
    file = None if package is None else package.__file__
    if file is not None and not Path(file).is_relative_to(session.config.rootpath):
        pytest.exit(f"the tests of {session.config.rootpath} import {file}", returncode=4)
