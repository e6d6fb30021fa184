"""Run folders of somebody else: what reads them calls nothing that they name, and looks at nothing of this machine."""

import copy
import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from ncbench import load_run
from ncbench.config.root import VARIANTS
from ncbench.config.trusted import _is_known, read_recorded
from ncbench.measure.__main__ import main as measure
from ncbench.run.compose import compose_jobs
from ncbench.run.current_folder import importable_here, installed_modules_only
from ncbench.run.execute import execute
from ncbench.run.references import check_references
from ncbench.sweep.__main__ import main as sweep

CALLED = {  # all can be imported; Hydra's own list stops some of them, and not the first six
    "joblib.load": {"filename": "x.pkl"},
    "pandas.read_pickle": {"filepath_or_buffer": "x.pkl"},
    "torch.hub.load": {"repo_or_dir": "x", "model": "y", "source": "local"},
    "urllib.request.urlopen": {"url": "http://127.0.0.1:9/"},
    "numpy.load": {"file": "x.npy", "allow_pickle": True},
    "torch.jit.load": {"f": "x.pt"},
    "builtins.exec": {"_args_": ["1"]},
    "os.system": {"command": "true"},
    "torchvision.models.os.system": {"command": "true"},
    "torchvision.models.resnet.torch.load": {"f": "x"},
    "torch.optim.sgd.torch.load": {"f": "x"},
    "torchvision.datasets.folder.os.system": {"command": "true"},
    "ncbench.records.whole_files.write_text": {"path": "x", "text": "y"},
    "ncbench.sweep.anew.train_anew": {},
    "ncbench.core.moments.dataclass": {},
    "ncbench.core.torch.load": {"f": "x"},
    "ncbench.models.heads.torch.load": {"f": "x"},
    "ncbench.models.heads._from_counters": {},
    "ncbench.theory..dnc_loss": {},
    "ncbench": {},
    "": {},
}
ARGUMENTS = [  # of known functions: they would unpickle or fetch a file
    ({"_target_": "torch.load", "f": "x", "weights_only": False}, "weights_only=False"),
    ({"_target_": "torch.load", "_args_": ["x", "cpu", "pickle"]}, "_args_="),
    ({"_target_": "timm.create_model", "model_name": "resnet10t", "checkpoint_path": "x.pth"}, "checkpoint_path=x.pth"),
    ({"_target_": "timm.create_model", "model_name": "hf-hub:me/mine"}, "model_name=hf-hub:me/mine"),
    ({"_target_": "timm.create_model", "model_name": "resnet10t", "pretrained": True}, "pretrained=True"),
    ({"_target_": "timm.create_model", "_args_": ["hf-hub:me/mine"]}, "_args_="),
    ({"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"}, "weights=DEFAULT"),
    ({"_target_": "torchvision.datasets.CIFAR10", "root": "/etc", "download": True}, "download=True"),
]
OF_GROUPS = {path for variants in VARIANTS.values() for variant in variants for path in variant.CLASSES.values()}
TINY = ["trainer.max_epochs=1", "dataset.per_class=10", "claims=null"]


@pytest.fixture(scope="module")
def digits():
    """The values of a run of digits_mlp, as they stand in its config.yaml."""
    (job,) = compose_jobs(["+experiment=digits_mlp", *TINY], multirun=False)
    return job.config.plain()


@pytest.fixture
def folder(digits, tmp_path):
    """Writes the values, changed at a dotted key, as the config.yaml of a run folder that says it is done."""

    def written(key=None, value=None):
        values = copy.deepcopy(digits)
        if key is not None:
            *groups, last = key.split(".")
            place = values
            for group in groups:
                place = place[group]
            place[last] = value
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        (run / "config.yaml").write_text(yaml.safe_dump(values))
        digests = {"0": "0" * 64}
        (run / "run.json").write_text(json.dumps({"status": "done", "config_hash": "0" * 64, "digests": digests}))
        return run

    return written


def refused(values, where, target):
    with pytest.raises(ValueError, match=rf"^{where}\._target_={target}: is none of the classes [^\n]*--trust"):
        read_recorded(values)


@pytest.mark.parametrize("target", CALLED)
def test_no_other_function_is_called(digits, target):
    named = {"_target_": target, **CALLED[target]}
    refused({**digits, "model": {**digits["model"], "backbone": named}}, "model.backbone", target)


def test_wherever_it_stands(digits):
    target, network = "joblib.load", digits["model"]["backbone"]
    named = {"_target_": target, "filename": "x.pkl"}
    deep = {"_target_": "torch.utils.data.Subset", "dataset": {**named, "_partial_": True}}
    for group, key, value, where in (
        ("model", "backbone", {**network, "extra": [named]}, r"model.backbone.extra\[0\]"),
        ("measure", "moments", {"mine": named}, "measure.moments.mine"),
        (
            "measure",
            "matrices",
            {"mine": {"_target_": "ncbench.core.soft_rank", "k": named}},
            "measure.matrices.mine.k",
        ),
    ):
        refused({**digits, group: {**digits[group], key: value}}, where, target)
    for group, value, where in (
        ("references", [{"name": "line", **named}], "references.line"),
        ("dataset", {"kind": "torch", "_target_": "ncbench.data.TorchData", "train": deep}, "dataset.train.dataset"),
        ("dataset", {"kind": "other", **named}, "dataset"),
        ("optimizer", {**digits["optimizer"], **named}, "optimizer"),
        ("objective", {**digits["objective"], **named}, "objective"),
        ("schedule", {**digits["schedule"], **named}, "schedule"),
        ("model", {"kind": "network", **named}, "model"),
    ):
        refused({**digits, group: value}, where, target)


@pytest.mark.parametrize(("named", "line"), ARGUMENTS)
def test_known_functions_neither_unpickle_nor_fetch(digits, named, line):
    with pytest.raises(ValueError, match=f"^model.backbone.{line}") as refused:
        read_recorded({**digits, "model": {**digits["model"], "backbone": named}})
    assert re.fullmatch(r"[^\n]*may give to[^\n]*", str(refused.value))


def test_what_documents_experiments_and_records_name_is_known():
    text = "\n".join(path.read_text() for path in [*Path("conf").rglob("*.yaml"), *Path("docs").rglob("*.yaml")])
    text += "\n".join(path.read_text() for path in Path("docs").glob("*.md"))
    named = set(re.findall(r"_target_: ([\w.]+\w)", text)) - {"package.module.function", "package.function", "function"}
    assert {name for name in named if not _is_known(name) and not name.startswith(("mine.", "mynet."))} <= OF_GROUPS
    for target in ("torchvision.models.resnet18", "torch.optim.sgd.SGD", "torch.optim.lr_scheduler.StepLR"):
        assert _is_known(target)


def test_every_command_refuses_in_one_line_and_takes_a_package_that_is_trusted(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_of_folders.py").write_text(
        "import pathlib\n\ndef net(**_):\n    pathlib.Path('CALLED').touch()\n    raise ValueError('so it is called')\n"
    )
    run = folder("model.backbone", {"_target_": "mine_of_folders.net"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", os.getcwd())])
    line = "model.backbone._target_=mine_of_folders.net: is none of the classes"
    for command in (lambda: measure(["run"]), lambda: sweep(["rerun", "run"]), lambda: sweep(["verify", "run"])):
        assert command() == 2
        said = capsys.readouterr().err
        assert line in said
        assert "--trust mine_of_folders" in said
        assert said.count("\n") == 1
    with pytest.raises(ValueError, match=line):
        load_run(run, trust="mine")  # a part of a name is another package
    with pytest.raises(ValueError, match=r"trust=a b: must be the name of a package"):
        load_run(run, trust=("a b",))
    assert sorted(os.listdir(tmp_path)) == ["mine_of_folders.py", "run"]
    assert measure(["run", "--trust", "mine_of_folders"]) == 2
    assert "so it is called" in capsys.readouterr().err
    assert (tmp_path / "CALLED").exists()


def test_interpolations_are_not_resolved(folder, monkeypatch, capsys):
    monkeypatch.setenv("NCBENCH_OF_READER", "the reader's")
    for text in ("${oc.env:NCBENCH_OF_READER}", "x${oc.env:NCBENCH_OF_READER,1}", "${oc.decode:${name}}", "${name}"):
        run = folder("model.backbone.hidden", text)
        with pytest.raises(ValueError, match=r"^model.backbone.hidden=.*: must be a value; interpolations") as refused:
            load_run(run)
        assert "the reader's" not in str(refused.value)
        assert measure([str(run)]) == 2
        assert "the reader's" not in capsys.readouterr().err


def test_the_data_folder_is_given_where_the_record_leaves_it_open(folder):
    run = folder("dataset", {"kind": "images", "_target_": "ncbench.data.MNIST", "root": "${oc.env:DATA}"})
    with pytest.raises(ValueError, match=r"^dataset.root=\$\{oc.env:DATA\}: must be a value"):
        load_run(run)
    with pytest.raises(ValueError, match=r"(?!dataset.root=\$)"):
        load_run(run, dataset_root=run / "none")


def test_data_is_not_downloaded_into_a_folder_that_somebody_else_has_named(digits):
    data = {"kind": "images", "_target_": "ncbench.data.MNIST", "root": "/somewhere", "download": True}
    assert read_recorded({**digits, "dataset": data}).dataset.download is False
    assert read_recorded({**digits, "dataset": {**data, "root": None}}).dataset.download is True


def test_modules_of_the_current_folder_are_left_out_where_nothing_is_trusted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != ""])
    with installed_modules_only():
        importable_here()
        assert str(tmp_path) not in sys.path
    with installed_modules_only(False):
        importable_here()
    assert sys.path[-1] == str(tmp_path)


def test_a_command_of_a_record_imports_nothing(folder, tmp_path, monkeypatch, capsys):
    """`verify` composes what run.json says; a refused argument would look into the function that it names."""
    (tmp_path / "mine_of_record.py").write_text("import pathlib\npathlib.Path('IMPORTED').touch()\n")
    run = folder()
    (run / "summary.csv").write_text("run,measure,step,median\n")
    command = (
        "python -m ncbench.train +experiment=digits_mlp model.backbone._target_=mine_of_record.f model.backbone.x=1"
    )
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "command": command}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != ""])
    assert sweep(["verify", "run"]) == 2
    assert "no configuration has its hash today" in capsys.readouterr().err
    assert not (tmp_path / "IMPORTED").exists()


@pytest.mark.parametrize("name", ["means", "checkpoints", "ncbench.log"])
@pytest.mark.parametrize("content", [[], ["part-000000000000.parquet", ".last.ckpt.tmp"]])
def test_training_into_a_folder_with_links_touches_nothing(tmp_path, capsys, name, content):
    (job,) = compose_jobs(["+experiment=digits_mlp", *TINY], multirun=False)
    aim = tmp_path / "aim"
    aim.mkdir()
    for file in content:
        (aim / file).write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(aim)
    assert execute(job.config, tmp_path / "run", command="test") == 2
    said = capsys.readouterr().err
    assert f"run/{name}: is a link to {aim}; nothing is written through it, remove it" in said
    assert said.count("\n") == 1
    assert sorted(os.listdir(aim)) == sorted(content)
    assert (tmp_path / "run" / name).is_symlink()


def test_a_repetition_is_not_written_through_a_link_that_came_with_the_run(folder, tmp_path, capsys):
    run = folder()
    (tmp_path / "aim").mkdir()
    (tmp_path / "run-again").symlink_to(tmp_path / "aim")
    assert sweep(["rerun", str(run)]) == 2
    assert "run-again: is a link to" in capsys.readouterr().err
    assert os.listdir(tmp_path / "aim") == []


@pytest.mark.parametrize("target", ["os.system", "posix.system", "subprocess.run", "builtins.exec"])
def test_theory_lines_go_through_the_door_of_everything_else(target):
    with pytest.raises(ValueError, match=rf"^references.x._target_={target}: Hydra does not let a configuration call"):
        check_references([{"name": "x", "_target_": target, "command": "true"}])
