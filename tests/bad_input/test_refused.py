"""Wrong command lines: exit status 2, one line that begins with the argument, and nothing is left behind.

The tables stand beside this file, one per group, a case per line: the command line, an arrow, and how the message
begins. The first word may stand for an experiment (see `EXPERIMENTS`); without one it is digits_mlp.
"""

import shlex
from pathlib import Path

import pytest

from ncbench import train
from tests.helpers.refusals import refused

EXPERIMENTS = {
    "DUFM": ["+experiment=dufm_k10"],
    "POINTS": ["+experiment=zangrando26/fig2_gamma"],
    "BLOBS": ["+experiment=zangrando24/fig1_blobs"],
    "STEP": [
        *("schedule.kind=other", "schedule._target_=torch.optim.lr_scheduler.StepLR"),
        *("~schedule.T_max", "~schedule.eta_min"),
    ],
}


def cases(*names):
    """The lines of these tables as (command line, how its message begins)."""
    lines = [line for name in names for line in Path(__file__).with_name(f"{name}.txt").read_text().splitlines()]
    return [pytest.param(*line.split(" -> "), id=line.partition(" -> ")[0]) for line in lines]


TABLES = (
    *("dataset", "model", "objective", "optimizer", "schedule", "measure", "trainer", "logger", "replicate", "claims"),
    *("top_level", "hydra", "sweeps", "flags"),
)


@pytest.mark.usefixtures("_composed_once", "_no_key", "_no_gpu")
@pytest.mark.parametrize(("command", "message"), cases(*TABLES))
def test_a_wrong_command_line_is_refused_in_one_line(command, message, tmp_path, capfd, monkeypatch):
    first, *words = shlex.split(command)
    arguments = [*EXPERIMENTS.get(first, [first]), *words]
    monkeypatch.chdir(tmp_path)
    refused(lambda: train.main(arguments), message, tmp_path, capfd)


def test_the_tables_are_large_and_name_no_case_twice():
    ids = [case.id for case in cases(*TABLES)]
    assert len(ids) >= 300
    assert len(set(ids)) == len(ids)
