"""The command line as a person meets it: exit status, one line, nothing touched."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ncbench import __main__ as dispatcher
from ncbench import train
from ncbench.records.folder import RunFolder
from ncbench.run.compose import compose_command
from ncbench.run.listing import list_experiments
from tests.helpers.refusals import refused

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=4", "trainer.progress=false"]


def run(*arguments):
    return train.main([*arguments])


def test_help_is_quick_to_import():
    code = "import sys; from ncbench import train; s = train.main(['--help']); "
    code += "sys.exit(s or bool({'torch', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "+experiment=NAME" in done.stdout


def test_what_help_says_is_often_changed_can_be_changed(tmp_path):
    from ncbench.run.build import build

    lines = [line.strip() for line in train.USAGE.splitlines() if re.match("  (in any|of a|of free)", line)]
    in_any, of_network, of_features = (
        line.partition(":")[2].replace("dataset=mnist dataset.root=DIR", "").replace("DIR", str(tmp_path)).split()
        for line in lines
    )
    for experiment, further in (("digits_mlp", of_network), ("dufm_k10", of_features)):
        build(compose_command([f"+experiment={experiment}", *in_any, *further], multirun=False).jobs[0].config)
    compose_command(["+experiment=digits_mlp", "dataset=mnist", f"dataset.root={tmp_path}"], multirun=False)


def test_list_is_a_table_that_wraps():
    wide, narrow = (list_experiments([], width=width) for width in (200, 80))
    assert max(map(len, wide.splitlines())) <= 200
    assert max(map(len, narrow.splitlines())) <= 80
    row = next(line for line in wide.splitlines() if line.startswith("dufm_k10 "))
    assert re.split("  +", row) == ["dufm_k10", "arXiv 2405.14468", "16 seconds on one CPU core", "yes"]
    names = list_experiments([], names_only=True).split()
    for text in (wide, narrow):
        starts = [line.split()[0] for line in text.splitlines() if line[:1].strip()]
        assert [start for start in starts if start in names] == names


def test_list_through_a_pipe_breaks_no_line(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    lines, names = list_experiments([]).splitlines(), list_experiments([], names_only=True).split()
    assert [line.split()[0] for line in lines[2:-2]] == names
    monkeypatch.setenv("COLUMNS", "80")
    assert len(list_experiments([]).splitlines()) > len(lines)


def test_list_takes_a_folder_of_ones_own(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    header = "# @package _global_\n# Paper    none: mine\n# Cost     1 minute.\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(header)
    assert run("--config-dir", str(tmp_path), "--list") == 0
    assert re.search(r"^mine +none +1 minute +none$", capsys.readouterr().out, re.MULTILINE)
    assert run("--config-dir", str(tmp_path / "nothing"), "--list") == 2


def test_what_was_never_run_at_its_size_has_no_form(capsys):
    assert run("--list", "paper", "zangrando24", "--names") == 0
    names = capsys.readouterr().out.split()
    assert "zangrando24/fig4_width" in names
    assert "untested/fig5_depth" not in names


def test_an_experiment_file_with_a_misspelt_key(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nname: mine\ntrainer: {max_epochs: 1}\noptimizer: {momentun: 0.5}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    assert run("--config-dir", str(tmp_path), "+experiment=mine") == 2
    assert "optimizer.momentun=0.5: unknown key (did you mean optimizer.momentum?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "head", ["", "# Paper x\n", "# @package mine\n", "# Paper x\n# @package _global_\n", "# @package _global_ too\n"]
)
def test_an_experiment_whose_keys_would_lie_elsewhere(head, tmp_path, capsys):
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(f"{head}defaults:\n  - override /dataset: mnist\n  - _self_\nname: mine\n")
    assert run("--config-dir", str(tmp_path), "+experiment=mine") == 2
    rule = "its first line must be '# @package _global_', or its keys are not those of the run"
    assert capsys.readouterr().err == f"ncbench: {path}: {rule}\n"


def test_the_states_of_a_folder(tmp_path, capsys):
    folder = tmp_path / "run"
    where = f"hydra.run.dir={folder}"
    assert run(*TINY, where) == 0
    out = capsys.readouterr().out
    assert f"draw it: python -m ncbench.report {folder}" in out
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    assert run(*TINY, where) == 0
    assert "already done" in capsys.readouterr().out
    assert run(*TINY, where, "seed=1") == 2
    assert "holds a run of another configuration" in capsys.readouterr().err
    RunFolder(folder).update(status="running")
    with RunFolder(folder):
        assert run(*TINY, where) == 2
    assert "a run is going on in this folder" in capsys.readouterr().err
    after = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name not in ("run.json", ".lock", ".holder")
    }
    assert all(before[path] == time for path, time in after.items() if path.is_file())


def test_a_done_run_takes_over_the_present_claims(tmp_path, capsys):
    folder = tmp_path / "run"
    where = f"hydra.run.dir={folder}"
    assert run(*TINY, where) == 0
    assert "statement:" in (folder / "config.yaml").read_text()
    assert run(*TINY, where, "claims=null") == 0
    assert "already done" in capsys.readouterr().out
    assert "statement:" not in (folder / "config.yaml").read_text()
    assert run("-m", *TINY, f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=run") == 0
    assert "1 of 1 jobs are done already" in capsys.readouterr().err
    assert "statement:" in (folder / "config.yaml").read_text()


def test_a_grid_reports_every_failure_and_goes_on(tmp_path, capsys, monkeypatch):
    from ncbench.run import session

    real = session.RunSession.fit

    def fails_at_depth_2(self):
        if self.config.model.depth == 2:
            raise RuntimeError("planted")
        real(self)

    monkeypatch.setattr(session.RunSession, "fit", fails_at_depth_2)
    where = f"hydra.sweep.dir={tmp_path}"
    assert run("-m", *TINY, "model.depth=2,3", "seed=0,1", "hydra/launcher=basic", where) == 1
    error = capsys.readouterr().err
    assert "2 of 4 jobs done" in error
    assert error.count("exit status 1") == 2
    states = [RunFolder(folder).info()["status"] for folder in tmp_path.iterdir() if folder.is_dir()]
    assert sorted(states) == ["done", "done", "failed", "failed"]
    logs = [f / "ncbench.log" for f in tmp_path.iterdir() if (f / "ncbench.log").exists()]
    assert sum("RuntimeError: planted" in log.read_text() for log in logs) == 2


def test_nothing_is_offered_for_drawing_where_every_job_failed(tmp_path, capsys, monkeypatch):
    from ncbench.run import session

    def fails(self):
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "fit", fails)
        assert run("-m", *TINY, "seed=0,1", "hydra/launcher=basic", f"hydra.sweep.dir={tmp_path}") == 1
    said = capsys.readouterr()
    assert "0 of 2 jobs done" in said.err
    assert "draw all" not in said.out
    assert run("-m", *TINY, "seed=0,1", "hydra/launcher=basic", f"hydra.sweep.dir={tmp_path}") == 0
    assert f"draw all: python -m ncbench.report {tmp_path}" in capsys.readouterr().out


def test_a_refused_process_leaves_the_folder_to_the_run_that_has_it(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with RunFolder(tmp_path / "run"):
        layout = [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=run", "hydra/launcher=basic"]
        assert run("-m", *TINY, *layout) == 2
        assert "a run is going on in this folder" in capsys.readouterr().err
        assert (tmp_path / "run" / ".lock").exists()


def test_a_job_whose_files_were_changed_since_the_plan_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NCBENCH_PLANNED_HASH", "0" * 64)
    assert run(*TINY, f"hydra.run.dir={tmp_path}/run") == 2
    assert "were changed since the sweep was planned" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_damaged_run_json_is_named(tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"status": "do')
    assert run(*TINY, f"hydra.run.dir={tmp_path}") == 2
    assert capsys.readouterr().err.startswith(f"ncbench: {tmp_path}/run.json is not valid JSON (")


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-c", "job"], ["--cfg", "job", "--resolve"], ["--cfg=job"]])
def test_flags_of_hydra_go_to_hydra(flags, capsys):
    assert run("+experiment=dufm_k10", *flags, "model.depth=7") == 0
    out = capsys.readouterr().out
    assert "depth: 7" in out
    assert "kind: free_features" in out


def test_a_user_sees_hydras_values_in_a_run(tmp_path, monkeypatch):
    from hydra.core.hydra_config import HydraConfig

    from ncbench.run import session

    real, seen, before = session.RunSession.fit, [], HydraConfig.instance().cfg

    def looks(self):
        seen.append((HydraConfig.get().runtime.output_dir, HydraConfig.get().job.name))
        real(self)

    monkeypatch.setattr(session.RunSession, "fit", looks)
    assert run(*TINY, f"hydra.run.dir={tmp_path}/run") == 0
    assert seen == [(f"{tmp_path}/run", "ncbench")]
    assert HydraConfig.instance().cfg is before
    assert {path.name for path in (tmp_path / "run" / ".hydra").iterdir()} == {"config.yaml", "overrides.yaml"}


def test_a_library_names_its_argument_and_the_run_adds_the_key():
    from ncbench.run.compose import compose_jobs
    from ncbench.run.one_line_errors import one_line_errors

    (job,) = compose_jobs(["+experiment=digits_mlp"], multirun=False)
    said = {
        "depth=0: must be at least 1": "model.depth=0: must be at least 1",
        "hidden=[0]: widths must be >= 1": "model.backbone.hidden=[0]: widths must be >= 1",
        "lr=0: must be > 0": "optimizer.lr=0: must be > 0",
        "width must be at least 6, got 4": "model.width must be at least 6, got 4",
        "num_classes=1 must be at least 2": "dataset.classes=1 must be at least 2",
        "optimizer.lr must be > 0": "optimizer.lr must be > 0",
        "dataset.seed=1: stays": "dataset.seed=1: stays",
        "no argument in front: stays\nin one line": "model: no argument in front: stays in one line",
        "outputs=2: no key": "model: outputs=2: no key",
    }
    for raised, shown in said.items():
        with pytest.raises(ValueError, match=f"^{re.escape(shown)}$"), one_line_errors(job.config, "model"):
            raise ValueError(raised)
    for group in ("dataset", "measure"):
        match = f"^{group}.per_class=3: too many$"
        with pytest.raises(ValueError, match=match), one_line_errors(job.config, group):
            raise ValueError("per_class=3: too many")


def test_dispatcher(capsys):
    assert dispatcher.main(["nonsense"]) == 2
    assert "nonsense: unknown command; one of train, sweep, report, measure is needed" in capsys.readouterr().err
    assert dispatcher.main(["--help"]) == 0
    assert dispatcher.main(["train", "--help"]) == 0
    assert "ncbench train" in capsys.readouterr().out


@pytest.mark.parametrize("grid", [[], ["-m", "hydra/launcher=basic"]])
def test_chdir_is_for_training_and_data_lie_where_the_command_was_given(tmp_path, monkeypatch, grid):
    from ncbench.run import session

    build, places = session.build, []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "build", lambda config: places.append(Path.cwd()) or build(config))
    monkeypatch.setattr(session.RunSession, "fit", lambda self: places.append(Path.cwd()))
    where = ["hydra.run.dir=run", "hydra.sweep.dir=.", "hydra.sweep.subdir=run", "hydra.job.chdir=true"]
    assert run(*grid, *TINY, *where) == 0
    assert places == [tmp_path, tmp_path / "run"]
    assert Path.cwd() == tmp_path


def test_an_accelerator_that_is_not_there_leaves_nothing_behind(tmp_path, capfd, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    refused(lambda: run(*TINY, "trainer.accelerator=cuda"), "trainer.accelerator=cuda: ", tmp_path, capfd)
