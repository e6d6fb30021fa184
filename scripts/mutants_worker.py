"""Runs pytest in a copy of the checkout again and again, for `mutants.py`: heavy packages are imported once.

Reads one JSON list of pytest's words per line and answers with [exit status, output]. Every run is a fork of this
process, which has imported what the package needs and nothing of the package, so that it sees the copy as it then is.
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

HEAVY = (
    *("torch", "torchvision", "torchmetrics", "pytorch_lightning", "numba", "scipy.stats", "scipy.optimize", "pandas"),
    *("pyarrow.dataset", "pyarrow.parquet", "sklearn.metrics", "matplotlib.figure", "hydra", "pydantic"),
)
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


def run(words: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of pytest with these words, in a fork of this process."""
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if not child:
            status = int(pytest.ExitCode.INTERNAL_ERROR)
            try:
                for place in (1, 2):
                    os.dup2(printed.fileno(), place)
                status = int(pytest.main([*words], plugins=[sys.modules[__name__]]))
                sys.stdout.flush()
            finally:
                os._exit(status)  # nothing of the parent's is cleaned up here
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        printed.seek(0)
        return status, printed.read().decode(errors="replace")


if __name__ == "__main__":
    if Path("ncbench").is_dir():
        for name in HEAVY:
            with suppress(ImportError):
                importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
