"""What several tests need."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

COLLECTED = pytest.StashKey[frozenset[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the names of all tests, before -m and -k leave some out; none where single tests were asked for."""
    whole = not any("::" in argument for argument in config.args)
    names = (item.nodeid.partition("tests/") for item in items if whole)
    config.stash[COLLECTED] = frozenset(name for before, _, name in names if not before)


@pytest.fixture
def collected_tests(request: pytest.FixtureRequest) -> frozenset[str]:
    """The tests of the files that were collected, `run/test_x.py::test_y[case]`, slow ones too."""
    return request.config.stash[COLLECTED]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Many small problems: a second thread costs more in waiting than it saves, above all on a shared machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Hydra gives the root logger a handler that writes to the present, captured, standard output: not to the next."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set torch's number of intra-op threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of which every figure is made, and none rendered into its three files: nearly all of the time it takes.

    For tests of what is judged, counted and said in words; those that look at pictures draw them.
    """
    from ncbench.report.pages import catalogue

    empty = '<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr(catalogue, "save", lambda figure, folder, name: empty)
    monkeypatch.setattr(catalogue, "to_svg", lambda figure, glyphs=True: empty)


@pytest.fixture(scope="session")
def mutant() -> Callable[[ModuleType, str, str], ModuleType]:
    """A copy of a module in which `old`, which must occur exactly once, is replaced by a plausible bug `new`."""

    def plant(module: ModuleType, old: str, new: str) -> ModuleType:
        source = Path(module.__file__).read_text()
        count = source.count(old)
        assert count == 1, f"the text to plant a bug in occurs {count} times in {module.__name__}, not once: {old}"
        copy = ModuleType(module.__name__)
        copy.__dict__["__file__"] = module.__file__
        sys.modules[module.__name__] = copy  # dataclasses and named tuples look their module up by name
        try:
            exec(compile(source.replace(old, new), module.__file__, "exec"), copy.__dict__)
        finally:
            sys.modules[module.__name__] = module
        return copy

    return plant
