"""Whole runs, tiny ones: the same numbers as a hand-written loop, and after every kind of stop."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from ncbench import load_run
from ncbench.measure import MeasureCollapse
from ncbench.models.initial_values import standard_normals
from ncbench.records.folder import RunFolder
from ncbench.records.settings import find_settings
from ncbench.report import load_grams, load_measures, load_replicas, load_spectra
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from ncbench.run.swept import swept_values

DUFM = ["+experiment=dufm_k10", "replicate.seed=3", "schedule.steps=40", "measure.points=6"]
DIGITS = ["+experiment=digits_mlp", "dataset.per_class=20", "dataset.batch_size=50", "trainer.max_epochs=4"]
DIGITS += ["dataset.augment=true", "measure.points=3", "trainer.threads=1"]
QUIET = ["trainer.progress=false", "trainer.checkpoint_seconds=0"]


def execute(overrides, folder):
    (composed,) = compose_jobs([*overrides, *QUIET], multirun=False)
    return run_execute.execute(composed.config, folder, command="test", overrides=overrides)


def final_state(folder):
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_run(a, b):
    one, two = final_state(a)["state_dict"], final_state(b)["state_dict"]
    assert all(torch.equal(one[name], two[name]) for name in one)
    for load in (load_measures, load_spectra, load_grams):
        tables = [load(folder).drop(columns="run") for folder in (a, b)]
        keys = [c for c in tables[0].columns if c not in ("value", "singular_value", "gram")]
        tables = [t.sort_values(keys, ignore_index=True) for t in tables]
        assert not tables[1].duplicated(keys).any()
        pd.testing.assert_frame_equal(*tables, check_exact=True, check_categorical=False)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_a_run_equals_autograd_and_torch_optim(loss, tmp_path):
    overrides = [*DUFM, "trainer.precision=64", "schedule.steps=200", f"objective.loss={loss}", "optimizer.lr=0.1"]
    assert execute(overrides, tmp_path / "run") == 0
    state = final_state(tmp_path / "run")["state_dict"]
    labels = torch.arange(50) // 5
    for replica in range(3):
        sizes = [(50, 20), (20, 20), (20, 20), (20, 20), (10, 20)]
        start = [x * 0.7 / 20**0.5 for x in standard_normals("philox", replica, sizes)]
        H, *Ws = (torch.nn.Parameter(x) for x in start)
        optimizer = torch.optim.SGD([H, *Ws], lr=0.1, momentum=0.9, weight_decay=2e-3)
        for _ in range(200):
            x = H
            for W in Ws[:-1]:
                x = torch.relu(x @ W.T)
            outputs = x @ Ws[-1].T
            if loss == "mse":
                fit = (outputs - torch.eye(10, dtype=torch.float64)[labels]).square().sum() / 100
            else:
                fit = torch.nn.functional.cross_entropy(outputs, labels)
            optimizer.zero_grad()
            fit.backward()
            optimizer.step()
        for l, W in enumerate(Ws, 1):
            ours = state[f"network.head.{l}.linear.weight"][replica]
            assert torch.linalg.norm(ours - W) <= 1e-11 * torch.linalg.norm(W)


@pytest.mark.parametrize("overrides", [DUFM, DIGITS], ids=["dufm", "digits"])
def test_measuring_does_not_change_training(overrides, tmp_path, monkeypatch):
    assert execute(overrides, tmp_path / "measured") == 0
    for hook in ("on_train_start", "on_train_epoch_end"):
        monkeypatch.setattr(MeasureCollapse, hook, lambda *_: None)
    assert execute(overrides, tmp_path / "bare") == 0
    one, two = (final_state(tmp_path / name)["state_dict"] for name in ("measured", "bare"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(("overrides", "at"), [(DUFM, 3), (DIGITS, 2)], ids=["dufm", "digits"])
def test_a_stopped_run_continues_as_if_nothing_had_happened(overrides, at, stop, tmp_path, monkeypatch, capsys):
    assert execute(overrides, tmp_path / "whole") == 0
    real, calls = session.RunSession._record, []

    def stops(self, step, epoch, found, network):
        real(self, step, epoch, found, network)  # no checkpoint follows: these rows must not be there twice
        calls.append(step)
        if len(calls) == at:
            raise stop("planted")

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert execute(overrides, tmp_path / "stopped") == 1
    info = RunFolder(tmp_path / "stopped").info()
    said = capsys.readouterr().err.splitlines()[-1]
    if stop is KeyboardInterrupt:
        assert info["status"] == "interrupted"
        assert info["error"] == "stopped by a signal"
        assert said == f"ncbench: interrupted; the same command continues: {tmp_path / 'stopped'}"
    else:
        assert info["status"] == "failed"
        assert said.startswith("ncbench: failed: RuntimeError: ")
    assert execute(overrides, tmp_path / "stopped") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert RunFolder(tmp_path / "stopped").info()["error"] is None


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch):
    assert execute(DUFM, tmp_path / "whole") == 0
    assert execute(DUFM, tmp_path / "damaged") == 0
    RunFolder(tmp_path / "damaged").update(status="running")  # as a kill leaves it
    last = tmp_path / "damaged" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    (last.parent / ".last.ckpt.tmp").write_bytes(b"left by a kill")
    (tmp_path / "damaged" / "measures" / ".part-000000000040.parquet.tmp").write_bytes(b"left by a kill")
    assert execute(DUFM, tmp_path / "damaged") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "damaged")
    assert not list((tmp_path / "damaged").rglob(".*.tmp"))


def test_what_a_run_folder_holds(tmp_path):
    folder = tmp_path / "run"
    assert execute([*DUFM, "+replicate.weight_decay=[1e-3,2e-3]"], folder) == 0
    info = json.loads((folder / "run.json").read_text())
    assert info["schema_version"] == 2
    expected = {"status": "done", "seed": 0, "replicas": 6, "steps": 40, "name": "dufm_k10"}
    assert {key: info[key] for key in expected} == expected
    assert set(info["final"]["loss"]) == {"median", "q25", "q75"}
    assert info["final"]["head.2.pre.dnc1"]["median"] > 0
    assert info["versions"]["torch"] == torch.__version__.split("+")[0] or info["versions"]["torch"]
    replicas = load_replicas(folder)
    assert list(replicas.seed) == [0, 0, 1, 1, 2, 2]
    assert list(replicas.weight_decay) == [1e-3, 2e-3] * 3
    references = json.loads((folder / "references.json").read_text())
    dnc = {
        tuple(r["arguments"]["weight_decays"]): r for r in references if (r["name"], r["measure"]) == ("dnc", "loss")
    }
    assert dnc[(2e-3,) * 4]["value"] == pytest.approx(0.0685992431, abs=1e-10)
    assert dnc[(2e-3,) * 4]["replicas"] == [1, 3, 5]
    (srg,) = (r for r in references if (r["name"], r["measure"]) == ("srg", "spectra") and r["replicas"] == [1, 3, 5])
    assert (srg["value"], srg["why"]) == (None, None)
    assert srg["values"]["head.2.pre"] == pytest.approx([1.0] + [(3 / 8) ** 0.5] * 4 + [0.0] * 5)
    measures = load_measures(folder)
    assert list(measures.columns) == (
        ["run", "replica", "seed", "step", "epoch", "split", "layer", "stage", "source_layer", "measure", "value"]
    )
    assert set(measures.step) == {0, 1, 3, 6, 16, 40}
    loss = measures[(measures.measure == "loss") & (measures.step == 40)].set_index("replica").value
    parts = {
        m: measures[(measures.measure == m) & (measures.step == 40)].set_index("replica").value
        for m in ("fit", "regulariser")
    }
    assert (loss - parts["fit"] - parts["regulariser"]).abs().max() < 1e-15
    assert {p.name for p in (folder / ".hydra").iterdir()} == {"config.yaml", "overrides.yaml"}


def test_replicas_of_a_grid_equal_their_own_runs(tmp_path):
    overrides = ["+experiment=dufm_k10", "schedule.steps=40", "measure.points=6", "trainer.threads=1"]
    assert execute([*overrides, "replicate.seed=2", "+replicate.weight_decay=[1e-3,2e-3]"], tmp_path / "stack") == 0
    alone = ["replicate.seed=1", "seed=1", "objective.weight_decay=1e-3"]
    assert execute([*overrides, *alone], tmp_path / "alone") == 0
    one, two = (final_state(tmp_path / name)["state_dict"] for name in ("stack", "alone"))
    for name in one:
        if name.startswith("network."):
            assert torch.equal(one[name][2], two[name][0]), name


def test_load_run_gives_ordinary_modules(tmp_path):
    assert execute(DIGITS, tmp_path / "digits") == 0
    module, data, config = load_run(tmp_path / "digits")
    x, y = next(iter(data.measure_loader("train")))
    assert module(x).shape == (len(y), 10)
    assert config.model.depth == 4
    assert execute([*DUFM, "replicate.seed=1"], tmp_path / "dufm") == 0
    module, data, _ = load_run(tmp_path / "dufm")
    assert isinstance(module.network.head[0].linear, torch.nn.Linear)
    loss = load_measures(tmp_path / "dufm", measures=["fit"], steps=[40]).value.item()
    indices, labels = data.train_dataloader()[0]
    outputs = module.network(indices).detach()
    assert float(module.objective.sample_losses(outputs, labels).mean()) == pytest.approx(loss, rel=1e-5)
    with pytest.raises(ValueError, match="holds no run"):
        load_run(tmp_path)


def test_diverged_replicas_are_recorded_as_such(tmp_path):
    rates = ["+replicate.lr=[0.5,500]", "replicate.seed=1"]
    assert execute([*DUFM, *rates, "schedule.steps=60"], tmp_path / "run") == 0
    loss = load_measures(tmp_path / "run", measures=["loss"], steps=[60]).value
    assert list(loss < 1) == [True, False]
    info = RunFolder(tmp_path / "run").info()
    assert info["status"] == "done"
    assert [entry["replica"] for entry in info["replica_states"]["diverged"]] == [1]


def test_checkpoint_writes_survive_a_temporary_folder_on_another_file_system(tmp_path, monkeypatch):
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no second file system")
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    opened = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (opened.append((Path(a).parent, Path(b).parent)), real(a, b))[1])
    assert execute(DUFM, tmp_path / "run") == 0
    assert opened
    assert all(source == target for source, target in opened)


@pytest.mark.parametrize(
    ("overrides", "columns"),
    [
        (["model.depth=3", "+optimizer.nesterov=true"], {"depth": 3, "nesterov": True}),
        (["dataset.seed=1", "seed=4"], {"dataset.seed": 1}),
        (["measure.batch_size=5", "dataset.batch_size=7"], {"measure.batch_size": 5, "dataset.batch_size": 7}),
        (["replicate.seed=8", "+replicate.decay=[1e-3]", "hydra.run.dir=x", "+experiment=a"], {}),
        (["~model.start", "optimizer=adam", "model.width=[3,4]"], {"optimizer": "adam", "width": [3, 4]}),
        (
            ["name=@foo", "measure.layers=['*', a]", "measure.per_class=null", r"logger.project='a\ b'"],
            {"name": "@foo", "layers": ["*", "a"], "per_class": None, "project": r"a\ b"},
        ),
        (["measure.per_class=5", "dataset.per_class=7"], {"measure.per_class": 5, "dataset.per_class": 7}),
        (["model.width=5", "+model.backbone.width=7"], {"model.width": 5, "model.backbone.width": 7}),
        (["model._target_=a.B", "optimizer._target_=c.D"], {"model._target_": "a.B", "optimizer._target_": "c.D"}),
        (["model.name=a", "optimizer.name=b"], {"model.name": "a", "optimizer.name": "b"}),
        (["objective.weight_decay=1e-3", "model.start='[8, 2]'"], {"weight_decay": 1e-3, "start": "[8, 2]"}),
    ],
)
def test_swept_values_have_short_names_where_these_are_clear(overrides, columns):
    assert swept_values(overrides) == columns


def test_a_swept_value_does_not_take_the_place_of_what_a_replica_says_of_itself():
    given = ["dataset.noise=0.1", "model.depth=3"]
    assert swept_values(given, ("replica", "seed", "noise")) == {"dataset.noise": 0.1, "depth": 3}


def test_a_sweep_over_the_seed_of_the_data_keeps_its_values(tmp_path):
    tiny = ["+experiment=digits_mlp", "dataset.per_class=12", "trainer.max_epochs=1", "measure.points=2"]
    for seed in (0, 1):
        assert execute([*tiny, f"dataset.seed={seed}"], tmp_path / str(seed)) == 0
    assert list(load_replicas(tmp_path)["dataset.seed"]) == [0, 1]
    assert [setting.values for setting in find_settings(tmp_path)] == [{"dataset.seed": 0}, {"dataset.seed": 1}]


def test_a_second_run_of_a_process_says_as_much_as_the_first(tmp_path, capsys):
    (composed,) = compose_jobs([*DUFM, "trainer.progress=true"], multirun=False)
    said = []
    for name in ("first", "second"):
        assert run_execute.execute(composed.config, tmp_path / name, command="test") == 0
        said.append(capsys.readouterr())
    assert all("mse + lam/2" in of_run.err and "done in" in of_run.out for of_run in said)
    assert said[0].out.splitlines()[1].replace("first", "second") == said[1].out.splitlines()[1]
