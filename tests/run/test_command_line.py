"""The command line as a person meets it: exit status, one line, nothing touched."""

import subprocess
import sys

import pytest

from ncbench import __main__ as dispatcher
from ncbench import train
from ncbench.records.folder import RunFolder

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=4", "trainer.progress=false"]


def run(*arguments):
    return train.main([*arguments])


def test_help_is_quick_to_import():
    code = "import sys; from ncbench import train; s = train.main(['--help']); sys.exit(s or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "+experiment=NAME" in done.stdout


def test_list_names_paper_and_cost(capsys):
    assert run("--list") == 0
    out = capsys.readouterr().out
    assert "dufm_k10\n    paper   arXiv 2405.14468" in out
    assert "cost" in out
    assert "untested/fig5_depth" in out


def test_what_was_never_run_at_its_size_has_no_form(capsys):
    assert run("--list", "paper", "zangrando24", "--names") == 0
    names = capsys.readouterr().out.split()
    assert "zangrando24/fig4_width" in names
    assert "untested/fig5_depth" not in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=nothing"], "unknown experiment 'nothing'"),
        (["experiment=digits_mlp"], "use +experiment=digits_mlp"),
        (["optimizer.lrr=1"], "optimizer.lrr: unknown key (did you mean optimizer.lr?)"),
        (["+optimizer.lrr=1"], "optimizer.lrr=1: unknown key (did you mean optimizer.lr?)"),
        (["model.depth=two"], "model.depth: Value 'two'"),
        (["objective.weight_decay=-1"], "objective.weight_decay=-1: must be a number >= 0"),
        (["model.depth=0"], "model.depth=0"),
        (["measure.layers=[head.9]"], "layers=head.9: the network has no such layer"),
        (["model.width=5"], "width=5 must be at least the number of classes (10)"),
        (["dataset=mnist", "dataset.root=/does/not/exist"], "root=/does/not/exist must hold the whole of MNIST"),
        (["+model.backbone.hiden=[3]"], "unexpected keyword argument 'hiden'"),
        (["trainer.accelerator=gpu"], "trainer.accelerator=gpu: "),
        (["logger=tensorboard"], "Could not find 'logger/tensorboard'"),
        (["logger=wandb"], "logger=wandb: no W&B key"),
        (["measure.layers=[]"], "measure.layers=[]: must name layers, or null"),
        (["model.backbone.hidden=[0]"], "hidden=[0] must be widths of at least 1"),
        (["references=[{name: a}]"], "references[0]._target_={'name': 'a'}: a text is needed"),
        (["references=[{name: a, _target_: nosuch.mod.f}]"], "references.a._target_=nosuch.mod.f: no such function"),
        (["references=[{name: a, _target_: ncbench.theory.dufm_mse.nope}]"], "dufm_mse.nope: no such function"),
        (
            ["references=[{name: a, _target_: ncbench.theory.dufm_mse.dnc_loss, foo: 3}]"],
            "references.a: ncbench.theory.dufm_mse.dnc_loss does not take its arguments",
        ),
        (["+experiment=dufm_k10", "dataset=digits"], "schedule.steps=20000: full-batch problems train free features"),
        (["+experiment=dufm_k10", "+replicate.decay=[1e-3,-1]"], "replicate.decay=-1: must be a number >= 0"),
        (["+experiment=dufm_k10", "+replicate.decay=[1]", "+replicate.weight_decay=[1]"], "sets the decay of every"),
        (["+experiment=dufm_k10", "+replicate.init_scale=[0]"], "replicate.init_scale=[0]: must be numbers > 0"),
        (["+experiment=dufm_k10", "+model.start=polygon"], "model.start=polygon: must be dnc, srg or null"),
        (["+experiment=dufm_k10", "+model.start=srg", "dataset.classes=4"], "num_classes=4"),
        (["+experiment=dufm_k10", "+model.start=srg", "+model.start_noise=-1"], "model.start_noise=-1.0: must be >= 0"),
        (["+experiment=dufm_k10", "+model.start=srg", "objective.loss=ce"], "model.start=srg: the solutions are those"),
        (["+model.start=srg"], "model.start=srg: only free features"),
        (
            ["+experiment=dufm_k10", "+model.start_noise=0.1"],
            "model.start_noise=0.1: is added to a solution; set model",
        ),
        (["--nonsense"], "unrecognized arguments: --nonsense (see --help)"),
        (["--config-dir", "/nonexistent"], "--config-dir /nonexistent: no such directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    folder = tmp_path / "run"
    assert run(*arguments, f"hydra.run.dir={folder}", "trainer.progress=false") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("ncbench: ")
    assert message in error
    assert "\n" not in error
    assert not folder.exists()


def test_an_experiment_file_with_a_misspelt_key(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nname: mine\ntrainer: {max_epochs: 1}\noptimizer: {momentun: 0.5}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    assert run("--config-dir", str(tmp_path), "+experiment=mine") == 2
    assert "optimizer.momentun=0.5: unknown key (did you mean optimizer.momentum?)" in capsys.readouterr().err


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
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name not in ("run.json", ".lock")}
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
    assert run("-m", *TINY, "model.depth=2,3", "seed=0,1", where) == 1
    error = capsys.readouterr().err
    assert "2 of 4 jobs done" in error
    assert error.count("exit status 1") == 2
    states = [RunFolder(folder).info()["status"] for folder in tmp_path.iterdir() if folder.is_dir()]
    assert sorted(states) == ["done", "done", "failed", "failed"]
    logs = [f / "ncbench.log" for f in tmp_path.iterdir() if (f / "ncbench.log").exists()]
    assert sum("RuntimeError: planted" in log.read_text() for log in logs) == 2


def test_dispatcher(capsys):
    assert dispatcher.main(["--help"]) == 0
    assert dispatcher.main(["nonsense"]) == 2
    assert dispatcher.main(["train", "--help"]) == 0
    assert "ncbench train" in capsys.readouterr().out
