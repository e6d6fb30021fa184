"""The reference tables."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def table() -> Callable[[str], list[dict[str, str]]]:
    """Rows of <name>_reference.csv: numbers of an independent implementation, as printed."""

    def read(name: str) -> list[dict[str, str]]:
        with (Path(__file__).parent / f"{name}_reference.csv").open() as file:
            return list(csv.DictReader(file))

    return read
