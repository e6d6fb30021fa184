"""A point of a grid is composed fast and exactly as by Hydra alone."""

import re
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.run.compose import compose_command
from ncbench.run.composer import composer, quoted
from ncbench.run.values import register_resolvers

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20"]


@pytest.fixture(autouse=True)
def resolvers():
    register_resolvers()


@pytest.mark.parametrize(
    "overrides",
    [
        ["+experiment=dufm_k10", "model.width=12", "seed=3"],
        ["+experiment=digits_mlp", "~claims", "optimizer=adam", "optimizer.lr=1e-3", "hydra.sweep.dir=x"],
        ["model=convnet", "dataset=mnist", "hydra.job.name=z", "+replicate.seed=3"],
        ["+experiment=dufm_k10", "measure.layers=['*']", "++model.start=srg", "~references"],
        ["model.backbone.hidden=[3]", "model.backbone={hidden: [4]}"],
        ["model.backbone={hidden: [4]}", "model.backbone.hidden=[3]"],
        ["hydra/launcher=basic", "dataset.batch_size=7"],
    ],
)
def test_a_point_is_what_hydra_composes(overrides):
    with composer([]) as hydra:
        first = hydra.compose(["+experiment=dufm_k10", "seed=1"])
        fast = hydra.compose(list(overrides))
        exact = compose("config", overrides=overrides, return_hydra_config=True)
        assert OmegaConf.to_container(fast) == OmegaConf.to_container(exact)
        assert hydra.compose(["+experiment=dufm_k10", "seed=1"]) == first  # what is kept has not been written into


def test_the_check_sees_values_in_another_order():
    with composer([]) as hydra:
        a = hydra.compose(["model.backbone.hidden=[3]", "model.backbone={hidden: [4]}"])
        b = hydra.compose(["model.backbone={hidden: [4]}", "model.backbone.hidden=[3]"])
    assert a.model != b.model


def test_groups_of_the_users_own_folder(tmp_path):
    folder = tmp_path / "José (a, b)=c"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "wide.yaml").write_text("# @package _global_\nmodel: {width: 33}\n")
    with composer([str(folder)]) as hydra:
        assert hydra.compose(["+experiment=dufm_k10", "+mine=wide"]).model.width == 33


def test_the_users_own_hydra_is_left_as_it_was():
    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        compose_command(TINY, multirun=False)
        assert GlobalHydra.instance().hydra is before
        assert compose("config", overrides=["seed=4"]).seed == 4


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
def test_a_quoted_text_is_read_as_it_was(text):
    if "${" not in text:
        assert OverridesParser.create().parse_override(f"key={quoted(text)}").value() == text


def folder_of(*overrides):
    return compose_command([*TINY, *overrides], multirun=True).folder


def test_the_folder_of_a_sweep_is_that_of_its_axes():
    """Another spelling, one value more, or a key that changes no number: the finished jobs are found."""
    sweep = folder_of("objective.weight_decay=1e-3,2e-3")
    assert sweep.parent == folder_of("seed=1,2").parent
    assert sweep == folder_of("objective.weight_decay=0.001,0.002")
    assert sweep == folder_of("objective.weight_decay=1e-3,2e-3,4e-3")
    assert sweep == folder_of("objective.weight_decay=2e-3,1e-3", "trainer.checkpoint_seconds=5", "claims=null")
    assert folder_of("optimizer=heavy_ball,gd") == folder_of("optimizer=heavy_ball,gd,adam")
    assert sweep != folder_of("objective.weight_decay=1e-3,2e-3", "seed=1")
    assert sweep != folder_of("objective.weight_decay=1e-3,2e-3", "seed=0,1")
    assert str(folder_of("seed=1,2", "hydra.sweep.dir=here")) == "here"


def test_a_value_that_is_there_twice_makes_one_job():
    command = compose_command([*TINY, "seed=1,1,2"], multirun=True)
    assert [job.config.seed for job in command.jobs] == [1, 2]


def test_hydras_own_layout():
    jobs = compose_command(
        [*TINY, "seed=1,2", "hydra.sweep.dir=out", "hydra.sweep.subdir=${hydra.job.num}"], multirun=True
    )
    assert [str(job.folder) for job in jobs.jobs] == ["out/0", "out/1"]


@pytest.mark.parametrize(("subdir", "folders"), [("job-${hydra.job.num}", 2), ("${hydra.job.id}", 2), ("s${seed}", 2)])
def test_other_layouts_of_hydras(subdir, folders):
    jobs = compose_command([*TINY, "seed=1,2", "hydra.sweep.dir=out", f"hydra.sweep.subdir={subdir}"], multirun=True)
    assert len({job.folder for job in jobs.jobs}) == folders


@pytest.mark.parametrize(
    "name", ["@foo", "%x", "*", "|x", "a b", "&x", "!x", "`x`", "a=b", "a, b (c)", "josé", "-", "~x"]
)
def test_a_name_of_any_letters_is_a_folder(name):
    single = compose_command([*TINY, f"name={quoted(name)}"], multirun=False).jobs[0]
    assert (single.config.name, single.folder.parent.name) == (name, name)
    (sweep,) = compose_command([*TINY, f"name={quoted(name)}", "seed=1"], multirun=True).jobs
    assert (sweep.config.name, sweep.folder.parent.parent.name) == (name, name)


def test_a_name_that_no_folder_can_have_is_refused():
    with pytest.raises(ValueError, match=r"^name=x+: must have at most 200 bytes$"):
        compose_command([*TINY, f"name={'x' * 300}"], multirun=False)


def test_jobs_that_would_share_a_folder_are_refused():
    same = ["hydra.sweep.dir=out", "hydra.sweep.subdir=same"]
    with pytest.raises(ValueError, match=r"^hydra.sweep.subdir=same: must differ between seed=1 and seed=2$"):
        compose_command([*TINY, "seed=1,2", *same], multirun=True)


def test_an_axis_without_values_is_refused():
    with pytest.raises(ValueError, match=r"seed=range\(1,0\): makes no job, as it has no value"):
        compose_command([*TINY, "seed=range(1,0)"], multirun=True)


@pytest.mark.parametrize("key", ["hydra.launcher.gpus", "hydra.launcher.retries", "hydra/launcher", "hydra.sweep.dir"])
def test_a_key_of_the_sweep_is_no_axis(key):
    with pytest.raises(ValueError, match=rf"{key}=1,2: a sweep has one value of this key; a list is written {key}="):
        compose_command([*TINY, "seed=1,2", f"{key}=1,2"], multirun=True)


def test_an_interval_is_no_list_of_values():
    with pytest.raises(ValueError, match=r"seed=interval\(0,1\): must list its values, as in seed=1,2"):
        compose_command([*TINY, "seed=interval(0,1)"], multirun=True)


def test_an_unknown_key_of_the_launcher():
    with pytest.raises(ValueError, match=r"hydra.launcher.bogus: unknown key of Hydra or of the launcher"):
        compose_command([*TINY, "seed=1,2", "hydra.launcher.bogus=1"], multirun=True)


def test_a_value_of_another_type_says_which_is_needed():
    with pytest.raises(ValueError, match=r"^hydra.launcher.retries=x: must be a whole number"):
        compose_command([*TINY, "seed=1,2", "hydra.launcher.retries=x"], multirun=True)


def test_glob_over_experiments():
    command = compose_command(["+experiment=glob(dufm*)"], multirun=True)
    assert [job.config.name for job in command.jobs] == ["dufm_k10"]


def test_a_glob_looks_into_one_folder():
    with pytest.raises(ValueError, match=r"one folder, \+experiment/sukenik24=glob\(fig2_dufm\*\)$"):
        compose_command(["+experiment=glob(sukenik24/fig2_dufm*)"], multirun=True)
    command = compose_command(["+experiment/sukenik24=glob(fig2_dufm*)"], multirun=True)
    assert [job.config.name for job in command.jobs] == ["fig2_dufm", "fig2_dufm_n5"]


def test_a_grid_of_nulls_and_mappings(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults: [dufm_k10, _self_]\nname: mine\ngrid: {measure.per_class: [null, 3]}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    jobs = compose_command(["+experiment=mine"], multirun=False, config_dirs=[str(tmp_path)]).jobs
    assert [job.config.measure.per_class for job in jobs] == [None, 3]
    texts = ["it's, a", "a b", "[3, 2]", "null", "1", "plain"]
    named = text.replace("measure.per_class: [null, 3]", f"name: {texts}").replace("name: mine\n", "")
    (tmp_path / "experiment" / "mine.yaml").write_text(named)
    jobs = compose_command(["+experiment=mine"], multirun=False, config_dirs=[str(tmp_path)]).jobs
    assert [job.config.name for job in jobs] == texts
    text = text.replace("measure.per_class: [null, 3]", "replicate: [{seed: 1}, {seed: 2}]")
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    jobs = compose_command(["+experiment=mine"], multirun=False, config_dirs=[str(tmp_path)]).jobs
    assert [job.config.replicate["seed"] for job in jobs] == [1, 2]


CLAIM = "+claims.mine={check: share_below, source: ours, statement: x, at_least: 0.5, below: 1}"
ADDED = "not set by this configuration; +%s=... adds it"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            [CLAIM, "claims.mine.mesure=rank"],
            "claims.mine.mesure=rank: share_below takes no such key (did you mean measure?)",
        ),
        ([CLAIM, "claims.mine.stage=post"], "claims.mine.stage=post: is for chosen layers; add layers"),
        ([CLAIM, "claims.mine.expect=holds"], f"claims.mine.expect: {ADDED % 'claims.mine.expect'}"),
        (
            ["claims.below_dcn.below=2", "seed=1"],
            "claims.below_dcn: no such claim (did you mean below_dnc?); "
            "+claims.below_dcn={check: ..., statement: ..., source: ours, ...} adds one",
        ),
        (
            ["measure.moments.soft=1"],
            "measure.moments.soft=1: a function is needed, as in {_target_: package.function}",
        ),
        (
            ["+measure.moments.soft={_target_: no.such}", "measure.moments.soft.k=3"],
            "measure.moments.soft.k: not set by this",
        ),
        (
            ["measure.moments={soft: {_target_: no.such}}"],
            f"measure.moments.soft: {ADDED % 'measure.moments'}",
        ),
        (["measure.moments={soft: 1}"], "measure.moments.soft=1: a function is needed"),
        (["claims.below_dnc={foo: 3}"], "claims.below_dnc.foo=3: share_below takes no such key"),
        (["claims={below_dnc: {foo: 3}}"], "claims.below_dnc.foo=3: share_below takes no such key"),
        (["hydra.run={foo: 3}"], "hydra.run: unknown key of Hydra"),
    ],
)
def test_a_key_that_cannot_be_added_is_said_to_be_so_at_once(overrides, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}"), composer([]) as hydra:
        hydra.compose(["+experiment=dufm_k10", *overrides])


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (
            "dataset.train.sampels",
            "dataset.train.sampels: mine.Rings takes no argument of that name (did you mean samples?)",
        ),
        ("dataset.train.k", "dataset.train.k: mine.Rings takes no argument of that name (known: samples, seed)"),
        ("dataset.train.seed", f"dataset.train.seed: {ADDED % 'dataset.train.seed'}"),
        ("dataset.test.k", f"dataset.test.k: {ADDED % 'dataset.test.k'}"),  # that one takes whatever it is given
    ],
)
def test_an_argument_that_a_class_does_not_take_is_said_to_be_none(key, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(
        "class Rings:\n    def __init__(self, samples=90, seed=0): ...\n"
        "class Any:\n    def __init__(self, **all): ...\n"
    )
    (tmp_path / "experiment").mkdir()
    data = "dataset: {train: {_target_: mine.Rings, samples: 3}, test: {_target_: mine.Any}}\n"
    head = "# @package _global_\ndefaults:\n  - override /dataset: torch\nname: rings\ntrainer: {max_epochs: 1}\n"
    (tmp_path / "experiment" / "rings.yaml").write_text(head + data)
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"), composer([str(tmp_path)]) as hydra:
        hydra.compose(["+experiment=rings", f"{key}=3"])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
