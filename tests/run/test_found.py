"""A finished run is found by what it computes, whichever command has made it, and is not trained again."""

import json
import os
import shutil

import pytest

from ncbench import train
from ncbench.report import load_replicas
from ncbench.run import found, session
from ncbench.run.compose import compose_command
from ncbench.sweep.__main__ import main as sweep

TINY = [
    *("+experiment=dufm_k10", "replicate.seed=1", "schedule.steps=2", "measure.points=2"),
    *("trainer.progress=false", "hydra/launcher=basic"),
]
DECAYS = "objective.weight_decay=1e-3,2e-3"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where a sweep of two decays and one run by itself were trained."""
    here, before = tmp_path_factory.mktemp("made"), os.getcwd()
    os.chdir(here)
    try:
        assert train.main(["-m", *TINY, DECAYS]) == 0
        assert train.main([*TINY, "seed=5"]) == 0
    finally:
        os.chdir(before)
    return here


@pytest.fixture
def again(made, tmp_path, monkeypatch):
    """A copy of that place; how often a network was trained there since."""
    shutil.copytree(made / "outputs", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    trained, real = [], session.RunSession.fit

    def counted(self):
        trained.append(self.config)
        real(self)

    monkeypatch.setattr(session.RunSession, "fit", counted)
    return trained


def contents(folder):
    """Every file below a folder that is no lock, with its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", ".holder"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sweep_of(*overrides):
    return compose_command([*TINY, *overrides], multirun=True).folder


@pytest.mark.parametrize(
    ("command", "jobs", "trained"),
    [
        (["-m", DECAYS, "seed=0,5"], 4, 1),  # one axis more: three of its points were there
        (["-m", "objective.weight_decay=0.002"], 1, 0),  # one value alone is no axis
        (["-m", "objective.weight_decay=2e-3,1e-3,4e-3", "logger=csv"], 3, 1),
        (["-m", "seed=5,7", "trainer.checkpoint_seconds=9"], 2, 1),
        (["objective.weight_decay=0.001", "claims=null", "trainer.checkpoint_seconds=5"], 1, 0),  # by itself
        (["seed=6"], 1, 1),
    ],
)
def test_what_is_done_is_not_trained_again(again, command, jobs, trained, tmp_path, capsys):
    before = contents(tmp_path)
    multirun = command[0] == "-m"
    made = compose_command([*TINY, *command[multirun:]], multirun=multirun)
    assert train.main([*command[:multirun], *TINY, *command[multirun:]]) == 0
    assert len(again) == trained
    assert len(made.jobs) == jobs
    assert all((job.folder / "run.json").is_file() for job in made.jobs)  # all of them where this command has its runs
    after = contents(tmp_path)
    ours = (*(str(job.folder) for job in made.jobs), f"{made.folder}/multirun.yaml")
    others = {name for name in before if not name.startswith(ours)}
    assert {name for name in others if after.get(name) != before[name]} == set()
    if multirun:
        assert len(load_replicas(made.folder)) == jobs
    capsys.readouterr()
    assert train.main([*command[:multirun], *TINY, *command[multirun:]]) == 0
    assert "found in" not in capsys.readouterr().out  # it has its runs now


def test_a_copy_is_whole_and_stands_by_itself(again, tmp_path, capsys):
    source = next(job.folder for job in compose_command([*TINY, DECAYS], multirun=True).jobs)
    (source / "wandb").mkdir()
    assert train.main([*TINY, "objective.weight_decay=1e-3"]) == 0
    (job,) = compose_command([*TINY, "objective.weight_decay=1e-3"], multirun=False).jobs
    said = capsys.readouterr().out
    assert f"1 finished run of this command found in {source.parent}, and copied\nalready done" in said
    assert contents(job.folder) == contents(source)
    assert not (job.folder / "wandb").exists()
    (part,) = [path for path in sorted((source / "measures").iterdir()) if path.name.endswith("2.parquet")]
    assert part.samefile(job.folder / "measures" / part.name)  # costs no space
    assert not (source / "run.json").samefile(job.folder / "run.json")
    shutil.rmtree(source.parent)
    assert len(load_replicas(job.folder)) == 1
    assert again == []


def change_info(run, **values):
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("spoiled", ["interrupted", "other", "link", "unreadable"])
def test_only_a_finished_run_of_the_same_configuration_counts(again, spoiled):
    (job,) = compose_command([*TINY, "seed=5"], multirun=False).jobs
    if spoiled == "interrupted":
        change_info(job.folder, status="interrupted")
    if spoiled == "other":
        change_info(job.folder, config_hash="0" * 64)
    if spoiled == "link":
        (job.folder / "measures" / "part-000000000009.parquet").symlink_to(job.folder / "run.json")
    if spoiled == "unreadable":
        (job.folder / "run.json").write_text("[]")
    assert found.finished_elsewhere(compose_command([*TINY, "seed=5,7"], multirun=True).jobs) == {}


def test_a_folder_of_ones_own_is_trained_anew(again):
    assert train.main([*TINY, "seed=5", "hydra.run.dir=outputs/dufm_k10/fresh"]) == 0
    jobs = compose_command([*TINY, "seed=5,7", "hydra.sweep.dir=outputs/dufm_k10/mine"], multirun=True).jobs
    assert found.finished_elsewhere(jobs) == {}
    assert len(again) == 1


def test_where_nothing_can_be_copied_it_is_trained(again, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(found.shutil, "copytree", full)
    assert train.main(["-m", *TINY, "seed=5"]) == 0
    assert len(again) == 1
    assert "found in" not in capsys.readouterr().out


def test_a_file_system_without_hard_links_gets_copies(again, monkeypatch):
    def refuses(*_):
        raise PermissionError("planted")

    monkeypatch.setattr(found.os, "link", refuses)
    assert train.main(["-m", *TINY, "seed=5"]) == 0
    assert again == []


def test_a_refused_command_leaves_no_copy(again, monkeypatch, tmp_path, capsys):
    before = contents(tmp_path)

    def refuses(*_):
        raise ValueError("hydra.launcher.slurm: planted")

    monkeypatch.setattr(train, "_grid", refuses)
    assert train.main(["-m", *TINY, "seed=5,7"]) == 2
    assert capsys.readouterr().err == "ncbench: hydra.launcher.slurm: planted\n"
    assert contents(tmp_path) == before
    assert not sweep_of("seed=5,7").exists()


def test_a_plan_says_what_it_would_take_over_and_writes_nothing(again, tmp_path, capsys):
    before = contents(tmp_path)
    assert sweep(["plan", *TINY[:-1], "seed=5,7"]) == 0
    assert "and takes over 1 finished run of this command found in outputs/dufm_k10\n" in capsys.readouterr().out
    assert contents(tmp_path) == before


def test_names_that_are_swept_are_looked_for_under_their_own(again):
    jobs = compose_command([*TINY, "name=other,dufm_k10", "seed=5"], multirun=True).jobs
    assert [job.config.name for job in jobs if job.folder in found.finished_elsewhere(jobs)] == ["dufm_k10"]
