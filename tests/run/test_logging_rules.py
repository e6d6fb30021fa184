"""What a logger needs, what no run folder may hold, and what a run is called where it is logged."""

import json
import re

import pytest

import ncbench.report.__main__ as report_command
from ncbench.config.measuring import Logger
from ncbench.run import logging_rules
from ncbench.run.compose import compose_jobs
from ncbench.run.logged_as import LoggedAs, logged_as
from ncbench.run.logger import close_logger, learning_rate, open_logger
from ncbench.run.logging_rules import check_logger, check_no_secrets

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"dataset": {"root": f"/data/{SECRET}/x"}}, "dataset.root"),
        ({"logger": {"tags": ["a", SECRET]}}, "logger.tags"),
        ({"grid": {SECRET: [1]}}, "grid"),
    ],
)
def test_the_value_of_a_secret_variable_is_refused_and_not_shown(values, key):
    line = rf"^{key}: holds the value of the environment variable MY_API_KEY, which would be written"
    with pytest.raises(ValueError, match=line) as caught:
        check_no_secrets(values, {"MY_API_KEY": SECRET})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("environment", [{"HOME": SECRET}, {"MY_API_KEY": "root"}, {"TOKENIZERS_PARALLELISM": "false"}])
def test_what_is_no_secret_is_let_through(environment):
    check_no_secrets({"dataset": {"root": f"/root/{SECRET}", "download": False}}, environment)


def test_composing_refuses_a_secret_before_anything_is_written(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    with pytest.raises(ValueError, match=r"^logger.tags: holds the value of the environment variable WANDB_API_KEY"):
        compose_jobs(
            ["+experiment=digits_mlp", "logger=wandb_offline", "logger.tags=['${oc.env:WANDB_API_KEY}']"],
            multirun=False,
        )


def test_tensorboard_without_its_package(monkeypatch):
    monkeypatch.setattr(logging_rules, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^logger=tensorboard: no module tensorboard; pip install tensorboard"):
        check_logger(Logger(kind="tensorboard"))
    check_logger(Logger(kind="csv"))


@pytest.mark.parametrize(
    ("noted", "server", "known"),
    [
        ("api.wandb.ai", None, True),
        ("api.forge.coreweave.com", None, True),  # as `wandb login` of 0.31 notes it
        ("api.forge.coreweave.com", "https://api.wandb.ai", True),
        ("wandb.example.org", None, False),
        ("wandb.example.org", "https://wandb.example.org/", True),
        ("api.wandb.ai", "https://wandb.example.org", False),
    ],
)
def test_a_key_that_wandb_login_has_noted(noted, server, known, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(f"machine {noted} login user password {'0' * 40}\n")
    environment = {"NETRC": str(tmp_path / "netrc")} | ({} if server is None else {"WANDB_BASE_URL": server})
    monkeypatch.setattr(logging_rules.os, "environ", environment)
    if known:
        check_logger(Logger(kind="wandb"))
    else:
        with pytest.raises(ValueError, match="^logger=wandb: no W&B key; set WANDB_API_KEY, run `wandb login`"):
            check_logger(Logger(kind="wandb"))


@pytest.mark.parametrize(
    ("kind", "told", "mode"),
    [
        ("wandb", None, "online"),
        ("wandb", "online", "online"),
        ("wandb", "offline", "offline"),
        ("wandb", "dryrun", "offline"),  # as W&B called it before
        ("wandb", "disabled", "disabled"),
        ("wandb_offline", None, "offline"),
        ("wandb_offline", "online", "offline"),  # what was to stay here is not sent
        ("wandb_offline", "disabled", "disabled"),
    ],
)
def test_what_the_environment_says_of_wandb(kind, told, mode, tmp_path, monkeypatch):
    monkeypatch.setattr(logging_rules.os, "environ", {"NETRC": str(tmp_path / "none")})
    if told is not None:
        monkeypatch.setitem(logging_rules.os.environ, "WANDB_MODE", told)
    assert logging_rules.wandb_mode(Logger(kind=kind)) == mode
    if mode == "online":
        with pytest.raises(ValueError, match="^logger=wandb: no W&B key"):
            check_logger(Logger(kind=kind))
    else:
        check_logger(Logger(kind=kind))  # needs no key


def test_a_mode_that_wandb_does_not_have(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    for kind in ("wandb", "wandb_offline"):
        with pytest.raises(ValueError, match=r"^WANDB_MODE=ofline: must be online, offline or disabled$"):
            check_logger(Logger(kind=kind))
    check_logger(Logger(kind="csv"))  # is none of W&B's


@pytest.mark.parametrize("kind", ["wandb", "wandb_offline"])
def test_nothing_is_handed_to_wandb_where_it_is_disabled(kind, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (job,) = compose_jobs(["+experiment=digits_mlp", f"logger={kind}"], multirun=False)
    with caplog.at_level("INFO"):
        assert open_logger(job.config, tmp_path, {}, []) is None
    assert "WANDB_MODE=disabled: nothing is handed to W&B" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_an_online_logger_writes_an_offline_run_where_the_environment_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    (job,) = compose_jobs(["+experiment=digits_mlp", "logger=wandb"], multirun=False)
    from ncbench.training.loggers import wandb_run

    opened = []
    monkeypatch.setattr(wandb_run, "WandbRun", lambda folder, **given: opened.append(given["offline"]))
    open_logger(job.config, tmp_path, {}, [])
    assert opened == [True]


def test_a_run_of_its_own_is_called_by_what_its_command_sets(tmp_path):
    overrides = ["+experiment=dufm_k10", "model.depth=3", "logger=csv", "+dataset.root=x", "trainer.progress=false"]
    (job,) = compose_jobs([*overrides[:3], "logger=wandb_offline", "logger.tags=[mine]"], multirun=False)
    assert logged_as(tmp_path, job.config, overrides) == LoggedAs(
        name="dufm_k10 depth=3", group="dufm_k10", tags=["model.depth=3", "mine"]
    )


@pytest.mark.parametrize("moved", [False, True])
def test_a_job_of_a_sweep_is_called_by_its_axes(tmp_path, moved):
    """The plan's folder is where it was made; the sweep may lie elsewhere now."""
    sweep = tmp_path / "widths"
    made = "/elsewhere/widths" if moved else str(sweep)
    long = f"+model.note={'x' * 64}"
    plan = {
        "folder": made,
        "axes": {"model.width": ["12", "30"], "model.note": ["x"]},
        "jobs": [
            {"folder": f"{made}/a", "label": "width=12", "overrides": ["model.width=12", "schedule.steps=2"]},
            {"folder": f"{made}/b", "label": "width=30", "overrides": ["model.width=30", long, "schedule.steps=2"]},
        ],
    }
    sweep.mkdir()
    (sweep / "sweep.json").write_text(json.dumps(plan))
    (job,) = compose_jobs(["+experiment=dufm_k10"], multirun=False)
    assert logged_as(sweep / "b", job.config, ["model.width=30"]) == LoggedAs(
        name="dufm_k10 width=30", group="dufm_k10/widths", tags=["model.width=30"]
    )
    assert logged_as(sweep / "c", job.config, []).group == "dufm_k10"


class Broken:
    """A logger that cannot take a report."""

    shows_reports = True

    def __init__(self):
        self.closed = []

    def show_report(self, page):
        raise OSError("no more space")

    def close(self, exit_code):
        self.closed.append(exit_code)


def test_a_report_that_cannot_be_handed_on_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    (job,) = compose_jobs(["+experiment=dufm_k10", "logger=wandb_offline"], multirun=False)
    monkeypatch.setattr(report_command, "make_report", lambda folder, out: (folder / "report.html", [], None))
    logger = Broken()
    close_logger(logger, job.config, tmp_path, 0)
    assert "the report could not be handed to the logger" in caplog.text
    caplog.clear()
    close_logger(logger, job.config, tmp_path, 1)  # of a run that failed there is no report
    assert (logger.closed, caplog.text) == ([0, 1], "")


def test_learning_rates_by_hand():
    class Optimizer:
        def __init__(self, *groups):
            self.param_groups = groups

    class Ensemble:
        rates = (0.1, 0.4, 0.2)

    class Single:
        rates = None

    assert learning_rate(Ensemble(), [Optimizer({"lr": 9.0})]) == 0.2
    assert learning_rate(Single(), [Optimizer({"lr": 0.25}, {"lr": 1.0})]) == 0.25
    assert learning_rate(Single(), [Optimizer({})]) is None
    assert learning_rate(object(), []) is None


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "[" * 200_000, '{"folder": 3, "jobs": []}', '{"folder": "x", "jobs": [3]}'],
    ids=["truncated", "a list", "nested", "a folder of numbers", "a job of numbers"],
)
def test_a_damaged_plan_of_a_sweep_is_named_and_the_run_logged_without_it(text, tmp_path, caplog):
    (tmp_path / "sweep.json").write_text(text)
    (job,) = compose_jobs(["+experiment=dufm_k10"], multirun=False)
    assert logged_as(tmp_path / "a", job.config, []).group == "dufm_k10"
    assert re.match(rf"{tmp_path}/sweep\.json is .*; the run is logged without it", caplog.messages[0])
