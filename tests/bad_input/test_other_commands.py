"""Wrong command lines of report, measure and sweep: status 2, one line, nothing is left behind."""

import shlex
from pathlib import Path

import pytest

from ncbench import __main__ as dispatcher
from ncbench import train
from tests.helpers.refusals import refused

LINES = Path(__file__).with_name("other_commands.txt").read_text().splitlines()
FILES = {
    "not_json/run.json": '{"status": "do',
    "a_list/run.json": "[]",
    "no_plan/sweep.json": "{",
    "a_text": "text",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run, and beside it folders that hold none."""
    root = tmp_path_factory.mktemp("runs")
    tiny = ["+experiment=dufm_k10", "replicate.seed=1", "schedule.steps=2", "trainer.progress=false"]
    assert train.main([*tiny, f"hydra.run.dir={root / 'run'}"]) == 0
    (root / "empty").mkdir()
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("command", "message"), [pytest.param(*x.split(" -> "), id=x.split(" -> ")[0]) for x in LINES])
def test_a_wrong_command_line_is_refused_in_one_line(command, message, trained, capfd, monkeypatch):
    monkeypatch.chdir(trained)
    refused(lambda: dispatcher.main(shlex.split(command)), message, trained, capfd)
