"""Runs that were left alone, made once for all tests that compare with them."""

import pytest
from warm_start import Process

from tests.helpers.small_runs import execute


@pytest.fixture(scope="session")
def left_alone(tmp_path_factory):
    """The folder of the undisturbed run of a kind of `small_runs`."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("left_alone") / kind
            process = Process([], made[kind].with_suffix(".txt"), main=lambda _: execute(kind, made[kind]))
            assert process.wait() == 0, process.said
        return made[kind]

    return folder
