"""docs/wandb_sweep.yaml: what W&B's agent makes of it is a command line of ncbench."""

import itertools
from pathlib import Path

import yaml

from ncbench.measure.keys import logged_name
from ncbench.run.compose import compose_command

FILE = Path(__file__).resolve().parents[2] / "docs" / "wandb_sweep.yaml"


def command_lines(sweep):
    """As the agent expands them: one per point of the grid."""
    axes = sweep["parameters"]
    for point in itertools.product(*(axis["values"] for axis in axes.values())):
        given = [f"{key}={value}" for key, value in zip(axes, point, strict=True)]
        macros = {"${env}": ["env"], "${interpreter}": ["python"], "${args_no_hyphens}": given}
        yield [word for part in sweep["command"] for word in macros.get(part, [part])]


def test_every_point_is_a_run(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    sweep = yaml.safe_load(FILE.read_text())
    assert sweep["metric"]["name"] == logged_name("", "", "", "loss")
    lines = list(command_lines(sweep))
    assert lines[0][:4] == ["env", "python", "-m", "ncbench.train"]
    jobs = [compose_command(line[4:], multirun=False).jobs[0] for line in lines]
    assert len({job.folder for job in jobs}) == len(jobs) == 9
    assert {job.config.objective.weight_decay for job in jobs} == {0.001, 0.002, 0.004}
    assert {job.config.logger.kind for job in jobs} == {"wandb"}
