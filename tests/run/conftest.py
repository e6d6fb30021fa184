"""Runs that were left alone, made once for all tests that compare with them; what happens at a measurement."""

from itertools import count

import pytest
from warm_start import Process

from ncbench.run import session
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


@pytest.fixture
def at_record(monkeypatch):
    """Call something after the n-th measurement that is recorded from now on."""
    real = session.RunSession._record

    def plant(n, act):
        number = count(1)

        def record(self, *args):
            real(self, *args)
            if next(number) == n:
                act()

        monkeypatch.setattr(session.RunSession, "_record", record)

    return plant
