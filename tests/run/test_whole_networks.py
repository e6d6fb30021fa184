"""Networks of a user's own as runs: found in the current folder, trained, measured, loaded again, or refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ncbench.measure.__main__ import main as measure_command
from ncbench.report import load_measures
from ncbench.run import execute as run_execute
from ncbench.run.build import load_run
from ncbench.run.compose import compose_jobs
from ncbench.training import ClassifierModule

NETWORKS = Path(__file__).resolve().parents[1] / "helpers" / "whole_networks.py"
TINY = [
    *("model=network", "dataset=digits", "dataset.per_class=12", "objective=standard", "objective.loss=ce"),
    *("trainer.max_epochs=2", "measure.points=2", "trainer.progress=false", "measure.splits=[train,test]"),
    *("claims=null", "references=[]"),
]
DUFM_LIKE = ["objective=dufm_like", "objective.loss=mse", "objective.feature_decay=1e-3"]
CALLED = ["model._target_=tests.helpers.whole_networks.Called", *DUFM_LIKE]
HELPER = "model._target_=tests.helpers.whole_networks.Functional"


def trained(folder, *overrides):
    (job,) = compose_jobs([*TINY, *overrides], multirun=False)
    status = run_execute.execute(job.config, folder, command="test")
    return status, job.config


def test_a_run_measures_the_classifier_and_its_input(tmp_path, capsys):
    status, _ = trained(tmp_path / "run", HELPER, "measure.measures=nc")
    assert status == 0
    rows = load_measures(tmp_path / "run")
    assert set(rows[rows["layer"] != ""]["layer"]) == {"fc.input", "fc"}
    assert set(rows[rows["layer"] == "fc.input"]["stage"]) == {"post"}
    needed = {"nc1", "equinorm", "equiangularity", "self_duality", "ncc_mismatch"}
    assert needed <= set(rows["measure"])
    module, data, config = load_run(tmp_path / "run", trust=("tests.helpers",))
    assert config.plain()["model"]["kind"] == "network"
    images = torch.zeros(2, *data.input_shape)
    assert module.network.eval()(images).shape == (2, 10)
    assert measure_command([str(tmp_path / "run"), "--split", "test", "--trust", "tests.helpers"]) == 0
    out = capsys.readouterr().out
    assert "fc.input" in out
    # The command's NC4 on test images takes the class means of the training set, as the run does.
    of_test = rows[(rows["split"] == "test") & (rows["layer"] == "fc.input") & (rows["measure"] == "ncc_mismatch")]
    last = of_test.sort_values("step")["value"].iloc[-1]
    assert f"{last:.4g}" in out


def weights_of(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_dropout_is_a_function_of_seed_and_step(tmp_path, monkeypatch):
    """Whatever the global generators did before, and where a signal stopped the run and it went on, too."""
    for name, before in (("a", 1), ("b", 2)):
        torch.manual_seed(before)
        assert trained(tmp_path / name, HELPER, "dataset.batch_size=30")[0] == 0
    steps, first = [], ClassifierModule.training_step

    def stopped_in_its_third_step(self, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return first(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(ClassifierModule, "training_step", stopped_in_its_third_step)
        assert trained(tmp_path / "c", HELPER, "dataset.batch_size=30")[0] != 0
    torch.manual_seed(3)
    assert trained(tmp_path / "c", HELPER, "dataset.batch_size=30")[0] == 0
    weights = weights_of(tmp_path / "a")
    for name in "bc":
        assert all(torch.equal(weights[key], value) for key, value in weights_of(tmp_path / name).items())
    with monkeypatch.context() as patched:  # without seeds for the steps two runs differ
        patched.setattr(ClassifierModule, "on_train_batch_start", lambda self, batch, batch_idx: None)
        torch.manual_seed(4)
        assert trained(tmp_path / "e", HELPER, "dataset.batch_size=30")[0] == 0
    assert not torch.equal(weights["network.fc.weight"], weights_of(tmp_path / "e")["network.fc.weight"])


def test_a_classifier_of_every_token_is_trained_and_its_features_are_counted(tmp_path):
    decayed = ["objective=dufm_like", "objective.loss=ce", "objective.feature_decay=1e-3"]
    status, _ = trained(tmp_path / "run", "model._target_=tests.helpers.whole_networks.Tokens", *decayed)
    assert status == 0
    module, data, config = load_run(tmp_path / "run", trust=("tests.helpers",))
    ((x, y),) = list(data.measure_loader("train", batch_size=1000))
    network = module.network.eval()
    fit = torch.nn.functional.cross_entropy(network(x), y)
    weight = config.plain()["objective"]["weight_decay"] / 2 * network.fc.weight.square().sum()
    objective = fit + 1e-3 / 2 * network.features(x).square().sum() + weight
    rows = load_measures(tmp_path / "run", measures=["loss"], steps="last")
    loss = rows[(rows["split"] == "train")]["value"].item()
    assert loss == pytest.approx(objective.item(), rel=1e-5)


def test_theory_of_one_matrix_with_dufm_like_decay(tmp_path):
    status, _ = trained(
        tmp_path / "run",
        *(HELPER, "+model.bias=false", "objective=dufm_like", "objective.loss=mse", "objective.feature_decay=1e-3"),
        "references=[{name: dnc, _target_: ncbench.theory.dufm_mse.dnc_loss}]",
    )
    assert status == 0
    (line,) = json.loads((tmp_path / "run" / "references.json").read_text())[:1]
    assert (line["name"], line["arguments"]["depth"], line["why"]) == ("dnc", 1, None)
    assert line["value"] > 0


def test_what_is_measured_and_decayed_is_the_classifier_that_is_called(tmp_path):
    assert trained(tmp_path / "run", *CALLED, "+model.how=aside", "measure.measures=nc")[0] == 0
    rows = load_measures(tmp_path / "run")
    assert set(rows[rows["layer"] != ""]["layer"]) == {"last.input", "last"}
    module, _, _ = load_run(tmp_path / "run", trust=("tests.helpers",))
    assert [entry.name for entry in module.objective.decayed] == ["last.weight"]


def test_a_function_with_hidden_arguments_and_the_conventions_of_timm(tmp_path):
    by_name = ["+model.from_data.num_classes=num_classes", "+model.from_data.in_chans=in_chans"]
    little = ["model._target_=tests.helpers.whole_networks.create_model", "+model.model_name=little"]
    assert trained(tmp_path / "little", *little, *by_name)[0] == 0
    pytest.importorskip("timm", reason="timm is no requirement of ncbench")
    timm = ["model._target_=timm.create_model", "+model.model_name=resnet10t"]
    assert trained(tmp_path / "timm", *timm, *by_name)[0] == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "model._target_: a value is needed"),
        (["model._target_=nowhere9.Net"], "model._target_=nowhere9.Net: no module nowhere9: run from its folder or"),
        ([HELPER, "model.classifier=gc"], "model.classifier=gc: the network has no such module"),
        (
            [HELPER, "model.classifier=conv"],
            "model.classifier=conv: must have an output for each of the 10 classes",
        ),
        ([*CALLED, "+model.how=function"], "model.classifier=None: the forward pass calls no linear layer with an out"),
        ([*CALLED, "model.classifier=spare"], "model.classifier=spare: the forward pass never calls it"),
        ([HELPER, "+model.from_data.width=depth"], "model.from_data: width=depth must be one of num_classes, "),
        ([HELPER, "+model._partial_=true"], "model._partial_=True: the network is made by ncbench; leave it out"),
        ([HELPER, "objective=dufm_like"], "objective.regulariser=dufm_like: the classifier fc has a bias"),
        (
            ["model._target_=tests.helpers.whole_networks.Normed", *DUFM_LIKE],
            "objective.regulariser=dufm_like: the classifier fc makes its weight of other parameters",
        ),
        (
            ["model._target_=tests.helpers.whole_networks.Again", *DUFM_LIKE],
            "model.classifier=fc: the forward pass calls it 3 times, so its input is not one feature vector",
        ),
        (
            ["model._target_=tests.helpers.whole_networks.Again"],
            "model.classifier=fc: the forward pass calls it 3 times",
        ),
        (
            [HELPER, "measure.measures=nc9"],
            "measure.measures=nc9: must be default, nc, nc1, nc2, nc3, nc4 or a list of names",
        ),
        ([HELPER, "measure.measures=[nc9]"], "measure.measures=nc9 must be among nc, nc1"),
    ],
)
def test_refused_in_one_line(tmp_path, capsys, overrides, message):
    try:
        status, _ = trained(tmp_path / "run", *overrides)
        text = capsys.readouterr().err
    except ValueError as error:
        status, text = 2, f"ncbench: {error}\n"
    assert status == 2
    assert message in text
    assert text.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_identity_does_not_say_where_our_classes_stand():
    by_file = "model._target_=ncbench.models.resnets.ResNet20"
    jobs = [
        compose_jobs([*TINY, target, "+model.from_data.output_width=num_classes"], multirun=False)[0]
        for target in ("model._target_=ncbench.models.ResNet20", by_file)
    ]
    assert len({str(job.folder) for job in jobs}) == 1


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine9.py").write_text(NETWORKS.read_text())
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder not in ("", os.getcwd())])
    monkeypatch.chdir(tmp_path)
    assert trained(tmp_path / "run", "model._target_=mine9.Functional")[0] == 0
    assert sys.path[-1] == str(tmp_path)  # behind all others
    load_run(tmp_path / "run", trust=("mine9",))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", sys.path[:-1])
    monkeypatch.delitem(sys.modules, "mine9")
    capsys.readouterr()
    assert trained(tmp_path / "other", "model._target_=mine9.Functional")[0] == 2
    line = "model._target_=mine9.Functional: no module mine9: run from its folder or set PYTHONPATH"
    assert capsys.readouterr().err == f"ncbench: {line}\n"
    assert measure_command([str(tmp_path / "run"), "--trust", "mine9"]) == 2
    assert capsys.readouterr().err == f"ncbench measure: {line}\n"
    assert trained(tmp_path / "other", HELPER, "+measure.moments.x._target_=mine9.margin")[0] == 2
    assert "no module mine9: run from its folder or set PYTHONPATH" in capsys.readouterr().err


@pytest.mark.slow
def test_the_installed_command_finds_it_in_a_grid(tmp_path):
    (tmp_path / "mine9.py").write_text(NETWORKS.read_text())
    code = "import sys; sys.path[0] = '/nowhere'; from ncbench.train import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "-m", *TINY, "model._target_=mine9.Functional", "seed=0,1"]
    command += [f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "sweep").glob("*/run.json"))) == 2


def test_a_classifier_that_is_called_again_and_again_is_measured_where_one_says(tmp_path):
    again = "model._target_=tests.helpers.whole_networks.Again"
    status, _ = trained(tmp_path / "run", again, "measure.layers=[step]")
    assert status == 0
    assert "step" in set(load_measures(tmp_path / "run")["layer"])


def test_a_backbone_that_views_its_maps_is_trained(tmp_path):
    backbone = ["model.backbone._target_=tests.helpers.whole_networks.ViewingBackbone", "~model.backbone.hidden"]
    few = [word for word in TINY if not word.startswith(("model=", "objective"))]
    (job,) = compose_jobs([*few, *backbone, "claims={}"], multirun=False)
    assert run_execute.execute(job.config, tmp_path / "run", command="test") == 0


def test_a_backbone_is_tried_before_the_first_epoch(tmp_path, capsys):
    backbone = "model.backbone._target_=tests.helpers.whole_networks.Narrow"
    few = [word for word in TINY if not word.startswith(("model=", "objective"))]
    (job,) = compose_jobs([*few, backbone, "~model.backbone.hidden", "claims={}"], multirun=False)
    assert run_execute.execute(job.config, tmp_path / "run", command="test") == 2
    error = capsys.readouterr().err
    assert "model.backbone: does not take inputs of shape (1, 8, 8), or gives no (B, width): " in error
    assert not (tmp_path / "run").exists()


def test_a_network_with_empty_containers_is_trained_and_one_that_is_compiled_refused(tmp_path, capsys):
    target = "model._target_=tests.helpers.whole_networks"
    assert trained(tmp_path / "run", f"{target}.Held", *DUFM_LIKE)[0] == 0
    rows = load_measures(tmp_path / "run")
    assert {"fc.input", "fc"} == set(rows[rows["layer"] != ""]["layer"])
    for how, which in (("whole", "the network"), ("part", "net"), ("in_place", "net.2")):
        capsys.readouterr()
        assert trained(tmp_path / "compiled", f"{target}.compiled", f"+model.how={how}", *DUFM_LIKE)[0] == 2
        error = capsys.readouterr().err
        assert f"model._target_: {which} is made by torch.compile" in error
        assert error.count("\n") == 1
        assert not (tmp_path / "compiled").exists()


def test_complex_parameters_and_buffers_stay_complex(tmp_path):
    target = "model._target_=tests.helpers.whole_networks.Turned"
    assert trained(tmp_path / "run", target)[0] == 0
    module, _, _ = load_run(tmp_path / "run", trust=("tests.helpers",))
    assert (module.network.turn.dtype, module.network.phase.dtype) == (torch.cfloat, torch.cfloat)
    assert trained(tmp_path / "double", target, "trainer.precision=64")[0] == 0


def test_the_command_measures_with_functions_of_the_runs_own(tmp_path, capsys):
    own = ["mine._target_=tests.helpers.whole_networks.largest", "soft._target_=ncbench.core.soft_rank"]
    assert trained(tmp_path / "run", HELPER, *(f"+measure.matrices.{entry}" for entry in own))[0] == 0
    rows = load_measures(tmp_path / "run", steps="last")
    expected = rows[(rows["measure"] == "mine") & (rows["layer"] == "fc") & (rows["stage"] == "weight")]["value"].item()
    out = tmp_path / "values.csv"
    command = [str(tmp_path / "run"), "--trust", "tests.helpers", "--csv", str(out)]
    assert measure_command(command) == 0
    assert f"fc,weight,mine,{expected:.6g}"[:18] in out.read_text()
    fit = rows[(rows["split"] == "test") & (rows["measure"] == "fit")]["value"].item()
    assert "soft" in capsys.readouterr().out
    assert measure_command([*command, "--split", "test"]) == 0
    captured = capsys.readouterr()
    assert f"fit {fit:.6g}" in captured.out
    assert "loss" not in captured.out
    assert captured.err == ""
