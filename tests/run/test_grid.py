"""An experiment file that carries its own grid: one job per point, in one command."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from ncbench import train
from ncbench.report import load_replicas
from ncbench.run import values
from ncbench.run.compose import compose_command, compose_jobs

MINE = """# @package _global_
defaults:
  - dufm_k10
  - _self_
name: mine
replicate: {seed: 2}
schedule: {steps: 10}
measure: {points: 2}
trainer: {progress: false}
grid: {model.width: [12, 16], model.depth: [3, 4]}
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(MINE)
    return str(tmp_path / "mine")


def grid_of(overrides, **options):
    """What an experiment's own grid adds to a command line."""
    command = compose_command(overrides, multirun=False, **options)
    assert command.multirun == (len(command.overrides) > len(overrides))
    return command.overrides[len(overrides) :]


def test_null_takes_back_an_inherited_axis(mine, tmp_path):
    heir = MINE.replace("dufm_k10", "mine").replace("name: mine", "name: heir")
    heir = heir.replace("{model.width: [12, 16], model.depth: [3, 4]}", "{model.width: null}")
    (tmp_path / "mine" / "experiment" / "heir.yaml").write_text(heir)
    assert grid_of(["+experiment=heir"], config_dirs=[mine]) == ["model.depth=3,4"]
    with pytest.raises(ValueError, match="one of them has a grid of its own"):
        compose_command(["+experiment=dufm_k10,heir"], multirun=True, config_dirs=[mine])
    bare = heir.replace("{model.width: null}", "{model.width: null, model.depth: null}")
    (tmp_path / "mine" / "experiment" / "heir.yaml").write_text(bare)
    command = compose_command(["+experiment=dufm_k10,heir"], multirun=True, config_dirs=[mine])
    assert [job.config.name for job in command.jobs] == ["dufm_k10", "heir"]


def test_grid_as_overrides_and_the_command_line_wins(mine):
    assert grid_of(["+experiment=dufm_k10"]) == []
    assert grid_of(["+experiment=mine"], config_dirs=[mine]) == ["model.width=12,16", "model.depth=3,4"]
    assert grid_of(["+experiment=mine", "model.width=20"], config_dirs=[mine]) == ["model.depth=3,4"]
    assert grid_of(["+experiment=mine", "model.width=20", "model.depth=3"], config_dirs=[mine]) == []


def test_lists_are_written_so_that_hydra_reads_them_as_one_value(mine, tmp_path):
    file = tmp_path / "mine" / "experiment" / "mine.yaml"
    file.write_text(MINE.replace("model.width: [12, 16]", "objective.weight_decay: [[1e-3, 2e-3, 1e-3], 5e-3]"))
    jobs = compose_command(["+experiment=mine", "model.depth=3"], multirun=False, config_dirs=[mine]).jobs
    assert [job.config.objective.weight_decay for job in jobs] == [[1e-3, 2e-3, 1e-3], 5e-3]


def test_a_sweep_over_experiments_may_not_swallow_a_grid(mine):
    with pytest.raises(ValueError, match=r"has a grid of its own; run it by itself"):
        compose_command(["+experiment=dufm_k10,mine"], multirun=True, config_dirs=[mine])
    jobs = compose_command(["+experiment=digits_mlp,dufm_k10"], multirun=True).jobs
    assert [job.config.name for job in jobs] == ["digits_mlp", "dufm_k10"]


@pytest.fixture
def calls(monkeypatch):
    """How often Hydra composed, and how often a configuration was validated."""
    counted = {"composed": 0, "validated": 0}

    def counting(name, function):
        def counts(*arguments, **options):
            counted[name] += 1
            return function(*arguments, **options)

        return counts

    load = ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counting("composed", load))
    monkeypatch.setattr(values, "validate", counting("validated", values.validate))
    values._validate_once.cache_clear()
    return counted


def test_a_single_run_is_composed_and_validated_once(calls, tmp_path):
    tiny = ["+experiment=dufm_k10", "replicate.seed=1", "schedule.steps=2", "trainer.progress=false"]
    assert train.main([*tiny, f"hydra.run.dir={tmp_path}/run"]) == 0
    assert calls == {"composed": 1, "validated": 1}


def test_the_jobs_of_a_grid_are_validated_once_each(calls, tmp_path):
    tiny = ["+experiment=dufm_k10", "replicate.seed=1", "schedule.steps=2", "trainer.progress=false"]
    assert train.main(["-m", *tiny, "model.depth=2,3", "hydra/launcher=basic", f"hydra.sweep.dir={tmp_path}"]) == 0
    assert calls["validated"] == 2


def test_one_command_trains_every_point_and_continues(mine, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["--config-dir", mine, "+experiment=mine", "hydra.sweep.dir=sweep", "hydra.run.dir=sweep"]
    command += ["hydra/launcher=basic"]
    assert train.main(command) == 0
    table = load_replicas(tmp_path / "sweep")
    assert sorted(set(zip(table.width, table.depth, strict=True))) == [(12, 3), (12, 4), (16, 3), (16, 4)]
    capsys.readouterr()
    assert train.main(command) == 0
    assert capsys.readouterr().out.count("already done") == 4


def test_a_bad_point_is_refused_before_any_job_starts(mine, tmp_path, capsys):
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(MINE.replace("[12, 16]", "[12, 5]"))
    assert train.main(["--config-dir", mine, "+experiment=mine", f"hydra.sweep.dir={tmp_path}/sweep"]) == 2
    assert capsys.readouterr().err.startswith("ncbench: model.width=5: ")
    assert not (tmp_path / "sweep").exists()


def test_a_grid_has_to_list_values():
    with pytest.raises(ValueError, match=r"grid.model.width=3: must be a list of values"):
        compose_jobs(["+experiment=dufm_k10", "+grid={model.width: 3}"], multirun=False)


@pytest.mark.parametrize(
    "arranged",
    [
        lambda mine: ["--config-dir", mine, "+experiment=mine"],
        lambda mine: ["+experiment=mine", f"--config-dir={mine}", "seed=1"],
        lambda mine: ["+experiment=mine", "-m", "seed=1", "--config-dir", mine],
    ],
)
def test_options_and_overrides_in_any_order_and_the_default_folder(mine, tmp_path, monkeypatch, capsys, arranged):
    monkeypatch.chdir(tmp_path)
    assert train.main([*arranged(mine), "model.depth=3", "hydra/launcher=basic"]) == 0
    (sweep,) = (tmp_path / "outputs" / "mine").iterdir()
    assert sweep.name.startswith("sweep-")
    assert len(load_replicas(sweep)) == 4
    assert f"outputs/mine/{sweep.name}\n" in capsys.readouterr().out


def test_unknown_experiments_are_answered_with_the_nearest_name(tmp_path, capsys):
    assert train.main(["+experiment=fig2_dufn"]) == 2
    assert "unknown experiment 'fig2_dufn' (did you mean sukenik24/fig2_dufm?)" in capsys.readouterr().err
    (tmp_path / "experiment" / "own").mkdir(parents=True)
    (tmp_path / "experiment" / "own" / "pictures.yaml").write_text("# @package _global_\nname: pictures\n")
    assert train.main(["--config-dir", str(tmp_path), "+experiment=picures"]) == 2
    assert "unknown experiment 'picures' (did you mean own/pictures?); --list" in capsys.readouterr().err
    assert train.main(["+experiment=zzz"]) == 2
    assert "unknown experiment 'zzz'; --list names them, --config-dir adds your own" in capsys.readouterr().err
