"""Runs that were left alone, made once for all tests that compare with them."""

import pytest

from tests.helpers.small_runs import execute


@pytest.fixture(scope="session")
def left_alone(tmp_path_factory):
    """The folder of the undisturbed run of a kind of `small_runs`."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("left_alone") / kind
            assert execute(kind, made[kind]) == 0
        return made[kind]

    return folder
