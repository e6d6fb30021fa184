"""Runs that differ in nothing but the seed are one setting: its numbers by hand, what must never be merged, labels."""

import json
import math
from dataclasses import fields

import pandas as pd
import pytest
import yaml

from ncbench.config.datasets import DATASETS
from ncbench.config.identity import NOT_COMPUTED
from ncbench.config.measuring import Trainer
from ncbench.config.variants import keys_of
from ncbench.records import computed as computations
from ncbench.records import same_network
from ncbench.records import settings as grouping
from ncbench.records.computed import LATER, OF_KIND, computed
from ncbench.records.load import load_replicas, load_run_info
from ncbench.records.schema import CONFIG, MANIFEST, REPLICAS
from ncbench.records.settings import find_settings, load_networks, only_where, repeated_networks
from ncbench.report import figure
from ncbench.report.settings import best_networks, final_table, quartiles
from tests.helpers.seed_sweeps import configuration, write_seed, write_sweep


def groups(module, dir):
    """The networks of every setting as (run, replica), found by a module that may have a planted bug."""
    found, _ = module.alike(load_replicas(dir), load_run_info(dir), computed(dir))
    return [[(network.run, network.replica) for network in networks] for networks, _ in found]


def labels(dir):
    return [setting.label for setting in find_settings(dir)]


def test_widths_decays_and_seeds_are_four_settings_with_three_networks_each(tmp_path):
    sweep = write_sweep(tmp_path)
    settings = find_settings(sweep)
    assert [[network.seed for network in setting.networks] for setting in settings] == [[0, 1, 2]] * 4
    assert [setting.label for setting in settings] == [
        f"width={width}, weight_decay={decay}" for width in (32, 64) for decay in (0.001, 0.01)
    ]
    assert [setting.values for setting in settings][1] == {"width": 32, "weight_decay": 0.01}
    table = final_table(sweep)
    losses = table[table["measure"] == "loss"]
    first = losses.iloc[0]
    # Losses 1, 2, 4: s = sqrt(7/3) = 1.5275252, t_{0.975, 2} = 4.3026527, and 4.3026527 s / sqrt(3) = 3.7945832
    by_hand = {"median": 2, "q25": 1.5, "q75": 3, "min": 1, "max": 4, "replicas": 3}
    by_hand |= {"mean": 7 / 3, "mean_low": 7 / 3 - 3.7945832, "mean_high": 7 / 3 + 3.7945832}
    assert {name: float(first[name]) for name in by_hand} == pytest.approx(by_hand)
    assert losses["median"].tolist() == pytest.approx([2, 20, 200, 2000])
    assert losses["run"].iloc[0].split("; ") == list(settings[0].runs)
    assert repeated_networks(sweep) == []
    assert best_networks(sweep) == dict.fromkeys(range(4), 0)
    assert [setting.name_of(2) for setting in settings] == ["seed 2"] * 4


def test_only_the_seed_may_differ(tmp_path, mutant):
    write_seed(tmp_path / "a", 0, 1.0)
    write_seed(tmp_path / "b", 1, 2.0)
    write_seed(tmp_path / "c", 2, 3.0, **{"optimizer.lr": 0.2})  # of which replicas.json says nothing
    assert groups(same_network, tmp_path) == [[("a", 0), ("b", 0)], [("c", 0)]]
    assert labels(tmp_path) == ["optimizer.lr=0.1", "optimizer.lr=0.2"]
    everything = mutant(same_network, "else identities[id(config)]", 'else ("all",)')
    assert groups(everything, tmp_path) == [[("a", 0), ("b", 0), ("c", 0)]]


@pytest.mark.parametrize(
    ("key", "value", "label"),
    [
        ("name", "fig2", "experiment=fig2"),
        ("dataset._target_", "ncbench.data.Mnist", "dataset=Mnist"),
        ("dataset.classes", 5, "dataset.classes=5"),
        ("objective.loss", "ce", "objective.loss=ce"),
        ("trainer.max_epochs", 9, "trainer.max_epochs=9"),
        ("model.layers", [1, 2], "model.layers=[1, 2]"),
    ],
)
def test_a_run_of_another_configuration_is_apart_and_named_by_the_key(tmp_path, key, value, label):
    write_seed(tmp_path / "a", 0, 1.0)
    write_seed(tmp_path / "b", 1, 2.0, **{key: value})
    assert len(find_settings(tmp_path)) == 2
    assert label in labels(tmp_path)


@pytest.mark.parametrize("key", ["dataset.root", "logger.kind", "claims.new", "trainer.progress", "reproduces"])
def test_what_computes_nothing_is_no_difference(tmp_path, key):
    write_seed(tmp_path / "a", 0, 1.0)
    write_seed(tmp_path / "b", 1, 2.0, **{key: {"any": "thing"}})
    write_seed(tmp_path / "c", 2, 3.0, {"optimizer.lr": 0.1})  # given on the command line, and the default
    info = {"status": "done", "device": "cuda", "versions": {"torch": "9"}}
    (tmp_path / "b" / "run.json").write_text(json.dumps(info))
    (setting,) = find_settings(tmp_path)
    assert [network.run for network in setting.networks] == ["a", "b", "c"]
    assert setting.values == {}


OWN = {"dataset.kind": "other", "dataset._target_": "mine.Rings"}


@pytest.mark.parametrize(
    ("key", "line", "bug"),
    [
        ("root", "OF_KIND.get(kind, ()) if kind else", ""),
        ("num_workers", "OF_KIND.get(kind, ()) if kind else", ""),
        ("label_noise", "own and key", "False and key"),
    ],
)
def test_an_argument_of_a_dataset_of_the_users_own_is_a_difference(tmp_path, mutant, key, line, bug):
    """Whatever it is called: two folders are two sets of data, and what is not given has a default of the class."""
    for run, given in (("a", {key: 0.0}), ("b", {key: 1.0}), ("c", {})):
        path = write_seed(tmp_path / run, 0, 1.0, {f"dataset.{name}": value for name, value in given.items()}) / CONFIG
        config = yaml.safe_load(path.read_text())
        config["dataset"] = {"kind": "other", "_target_": "mine.Rings", **given}
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        (tmp_path / run / MANIFEST).unlink()
    found = [[network.run for network in setting.networks] for setting in find_settings(tmp_path)]
    assert found == [["a"], ["b"], ["c"]]
    assert repeated_networks(tmp_path) == []
    assert len(set(labels(tmp_path))) == 3
    careless = mutant(computations, line, bug)
    assert len({identity_of(careless, tmp_path, run) for run in "abc"}) < 3


def identity_of(module, dir, run):
    return module.identity(module.computed(dir)[run])


@pytest.mark.parametrize(("kind", "key"), [("images", "root"), ("images", "download"), ("torch", "num_workers")])
def test_where_data_lie_is_no_difference(tmp_path, kind, key):
    for seed, run in enumerate("ab"):
        write_seed(tmp_path / run, seed, 1.0, **{"dataset.kind": kind, f"dataset.{key}": seed})
    assert len(find_settings(tmp_path)) == 1


def test_settings_leave_out_what_the_identity_of_a_run_leaves_out():
    of_identity = {
        variant.KIND: tuple(f"dataset.{key}" for key in NOT_COMPUTED["dataset"] if key in keys_of(variant))
        for variant in DATASETS
    }
    assert {kind: keys for kind, keys in of_identity.items() if keys} == OF_KIND
    assert {f"trainer.{key}" for key in NOT_COMPUTED["trainer"]} < set(computations.NOT_COMPUTED)


def test_runs_of_earlier_versions_are_read_in_present_words(tmp_path):
    write_seed(tmp_path / "a", 0, 1.0, **{"trainer.dtype": "float64"})
    write_seed(tmp_path / "b", 1, 1.0, **{"trainer.precision": 64, "trainer.devices": 1, "trainer.strategy": "auto"})
    write_seed(tmp_path / "c", 2, 1.0)
    write_seed(tmp_path / "d", 3, 1.0, **{"trainer.precision": "32", "trainer.devices": 1})
    write_seed(tmp_path / "e", 4, 1.0, **{"trainer.devices": 2})
    found = {tuple(network.run for network in setting.networks) for setting in find_settings(tmp_path)}
    assert found == {("a", "b"), ("c", "d"), ("e",)}
    for key, default in LATER.items():
        trainer = {field.name: field.default for field in fields(Trainer)}
        assert trainer.get(key.removeprefix("trainer."), default) == default


def test_a_network_that_two_runs_hold_is_counted_once(tmp_path, mutant):
    write_seed(tmp_path / "a", 0, 1.0)
    write_seed(tmp_path / "b", 1, 2.0)
    write_seed(tmp_path / "again", 1, 8.0)
    write_seed(tmp_path / "lost", 0, 9.0, status="failed")
    (setting,) = find_settings(tmp_path)
    assert [network.run for network in setting.networks] == ["a", "again"]
    pairs = [(each.network.run, each.counted.run) for each in repeated_networks(tmp_path)]
    assert pairs == [("b", "again"), ("lost", "a")]  # a finished run counts before another one
    assert final_table(tmp_path).query("measure == 'loss'")["replicas"].tolist() == [2]
    assert load_networks(tmp_path)["run"].tolist() == ["a", "again"]
    twice = mutant(same_network, "if same.run != run:", "if same.run is None:")
    assert len(groups(twice, tmp_path)[0]) == 4


def test_ensembles_are_one_setting_where_their_seeds_differ(tmp_path):
    for name, seeds in (("a", [0, 1]), ("b", [2, 3]), ("c", [3, 4])):
        run = write_seed(tmp_path / name, seeds[0], 1.0)
        rows = [{"replica": i, "seed": s, "decay": d} for i, (s, d) in enumerate((s, d) for d in (1, 2) for s in seeds)]
        (run / REPLICAS).write_text(json.dumps(rows))
        (run / MANIFEST).unlink()
    settings = find_settings(tmp_path)
    assert [setting.label for setting in settings] == ["decay=1", "decay=2"]
    found = [[(network.run, network.replica) for network in setting.networks] for setting in settings]
    assert found == [
        [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 1)],
        [("a", 2), ("a", 3), ("b", 2), ("b", 3), ("c", 3)],
    ]
    assert [(each.network.run, each.network.replica) for each in repeated_networks(tmp_path)] == [("c", 0), ("c", 2)]


def test_runs_without_a_configuration_are_apart_and_named_by_their_folder(tmp_path):
    for seed, name in enumerate("ab"):
        run = write_seed(tmp_path / name, seed, 1.0)
        (run / CONFIG).unlink()
        (run / MANIFEST).unlink()
    assert labels(tmp_path) == ["a", "b"]
    assert [setting.values for setting in find_settings(tmp_path)] == [{"run": "a"}, {"run": "b"}]
    write_seed(tmp_path / "c", 0, 1.0, {"model.width": 64})
    assert labels(tmp_path) == ["width=64", "a", "b"]


def test_a_value_that_one_command_line_gave_is_read_from_the_other_configuration(tmp_path):
    write_seed(tmp_path / "given", 0, 1.0, {"optimizer.lr": 0.2})
    write_seed(tmp_path / "default", 0, 1.0)
    assert labels(tmp_path) == ["lr=0.1", "lr=0.2"]


def test_the_folders_names_and_their_order_change_nothing(tmp_path):
    for name, order in (("x", "abc"), ("y", "cab")):
        for seed, run in enumerate(order):
            write_seed(tmp_path / name / run, seed, float(seed))
    seeds = [[network.seed for network in find_settings(tmp_path / name)[0].networks] for name in "xy"]
    assert seeds == [[0, 1, 2]] * 2


def test_one_setting_is_chosen_by_its_values(tmp_path):
    sweep = write_sweep(tmp_path)
    with only_where({"width": 64}):
        assert [setting.values["weight_decay"] for setting in find_settings(sweep)] == [1e-3, 1e-2]
        assert len(load_networks(sweep)) == 6
    assert len(find_settings(sweep)) == 4
    fig = figure.loss(sweep, where={"width": 64, "weight_decay": 1e-2})
    assert [ax.get_title() for ax in fig.axes] == ["width=64, weight_decay=0.01"]
    with pytest.raises(
        ValueError, match=r"where=\{'lr': 1\} has to name what varies, one or several of \['width', 'wei"
    ):
        figure.loss(sweep, where={"lr": 1})
    with pytest.raises(ValueError, match=r"where=\{'width': 7\}: no network has these values"):
        figure.loss(sweep, where={"width": 7})


def test_a_sweep_over_seeds_is_read_once_per_configuration(tmp_path, monkeypatch):
    text = [yaml.safe_dump(configuration(0, **{"model.width": width}), sort_keys=False) for width in range(4)]
    for job in range(200):
        run = tmp_path / f"{job:03d}"
        run.mkdir()
        (run / "run.json").write_text(json.dumps({"status": "done", "replicas": 1, "seed": job // 4}))
        (run / CONFIG).write_text(text[job % 4].replace("seed: 0\n", f"seed: {job // 4}\n"))
    calls = []
    monkeypatch.setattr(computations, "read_yaml", lambda path: calls.append(path) or yaml.safe_load(path.read_text()))
    settings = find_settings(tmp_path)
    assert [len(setting.networks) for setting in settings] == [50] * 4
    assert [setting.label for setting in settings] == [f"model.width={width}" for width in range(4)]
    assert len(calls) == 4
    assert grouping.repeated_networks(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "low", "median", "high"),
    [
        ([1.0, 2.0, 3.0, 4.0], 1.75, 2.5, 3.25),
        ([1.0, 2.0, math.inf, math.inf], 1.75, math.inf, math.inf),
        ([1.0, math.inf, math.inf, math.inf], math.inf, math.inf, math.inf),
        ([-math.inf, 0.0, 1.0, 2.0], -math.inf, 0.5, 1.25),
        ([1.0, 2.0, math.inf], 1.5, 2.0, math.inf),
        ([math.nan, 2.0, math.inf], math.inf, math.inf, math.inf),
    ],
)
def test_quartiles_of_infinite_values_are_numbers(values, low, median, high):
    table = quartiles(pd.DataFrame({"setting": 0, "value": values}), ["setting"])
    assert table[["q25", "median", "q75"]].to_numpy().tolist() == [[low, median, high]]
