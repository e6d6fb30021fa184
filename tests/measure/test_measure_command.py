"""`python -m ncbench.measure`: the table of a run, and one line for wrong input."""

import json
import shutil

import pandas as pd
import pytest

from ncbench import __main__ as dispatcher
from ncbench import train
from ncbench.measure.__main__ import main
from ncbench.report import load_measures

SMALL = {
    "dufm": ["+experiment=dufm_k10", "replicate.seed=1", "schedule.steps=20"],
    "ensemble": ["+experiment=dufm_k10", "replicate.seed=3", "schedule.steps=20"],
    "mlp": ["+experiment=digits_mlp", "trainer.max_epochs=1", "dataset.per_class=20", "measure.splits=[train,test]"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name, overrides in SMALL.items():
        assert (
            train.main([*overrides, "measure.points=3", "trainer.progress=false", f"hydra.run.dir={root / name}"]) == 0
        )
    return root


def recorded(run, split):
    found = load_measures(run)
    found = found[(found.step == found.step.max()) & found["split"].isin([split, ""])]
    return found.set_index(["replica", "split", "layer", "stage", "measure"]).value.sort_index()


@pytest.mark.parametrize(
    ("name", "split"), [("dufm", "train"), ("ensemble", "train"), ("mlp", "train"), ("mlp", "test")]
)
def test_values_are_those_recorded_at_the_end_of_training(runs, tmp_path, capsys, name, split):
    out = tmp_path / "values.csv"
    assert main([str(runs / name), "--split", split, "--csv", str(out)]) == 0
    found = pd.read_csv(out, keep_default_na=False)
    found = found[found.measure != "singular_value"].astype({"value": float})
    found = found.set_index(["replica", "split", "layer", "stage", "measure"]).value
    expected = recorded(runs / name, split)
    common = found.index.intersection(expected.index)
    assert len(common) >= 20
    common = common[~common.get_level_values("measure").isin(["dnc2"])]  # may be 1/0
    assert found[common].to_numpy() == pytest.approx(expected[common].to_numpy(), rel=1e-5, abs=1e-12)
    shown = capsys.readouterr().out
    assert "head.1   post" in shown
    assert shown.splitlines()[1].split()[:3] == ["layer", "stage", "tcv"]


def test_a_checkpoint_file_and_further_measures(runs, capsys):
    path = runs / "mlp" / "checkpoints" / "last.ckpt"
    assert dispatcher.main(["measure", str(path), "--layers", "features", "head.?", "--measures", "nc1", "cdnv"]) == 0
    first = capsys.readouterr().out
    header = first.splitlines()[1].split()
    assert {"nc1", "nc1_rank", "cdnv"} <= set(header)
    assert main([str(runs / "mlp"), "--measures", "nc1", "cdnv"]) == 0
    assert capsys.readouterr().out == first


def test_of_the_test_split_nc3_is_that_of_the_training_means(runs, tmp_path, capsys):
    found = {}
    for split in ("train", "test"):
        out = tmp_path / f"{split}.csv"
        assert main([str(runs / "mlp"), "--split", split, "--measures", "nc3", "--csv", str(out)]) == 0
        table = pd.read_csv(out, keep_default_na=False)
        found[split] = table[table.measure == "self_duality"][["split", "layer", "value"]].to_numpy().tolist()
    capsys.readouterr()
    assert found["test"] == found["train"] != []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: RUN_OR_CHECKPOINT"),
        (["nowhere"], "nowhere does not exist; give a run folder, or a checkpoint inside one"),
        (["{runs}"], "holds no run (no config.yaml)"),
        (["{runs}/mlp", "--split", "val"], "split=val must be train or test"),
        (["{runs}/dufm", "--split", "test"], "split=test must be train, as free features have no other samples"),
        (["{runs}/mlp", "--layers", "head.9"], "layers=head.9: the network has no such layer"),
        (["{runs}/mlp", "--measures", "nc9"], "measures=nc9 must be among"),
        (["{runs}/mlp", "--batch-size", "0"], "--batch-size=0: must be >= 1"),
        (["{runs}/mlp", "--batch", "x"], "(see --help)"),
        (["{runs}/mlp/config.yaml"], "config.yaml: not a checkpoint of the run in"),
        (["{here}"], "holds no run"),
    ],
)
def test_wrong_input_is_one_line_and_exit_status_2(runs, capsys, arguments, message):
    assert main([text.format(runs=runs, here=__file__) for text in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.strip()
    assert error.startswith("ncbench measure: ")
    assert message in error
    assert "\n" not in error


def test_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "RUN_OR_CHECKPOINT" in capsys.readouterr().out


def test_replicas_that_diverged_are_in_no_median(runs, tmp_path, capsys):
    copied = tmp_path / "run"
    shutil.copytree(runs / "ensemble", copied)
    out = tmp_path / "values.csv"
    assert main([str(copied), "--csv", str(out)]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    losses = table[table.measure == "loss"].set_index("replica").value.astype(float)
    assert f"loss {losses.median():.6g}" in capsys.readouterr().out
    info = json.loads((copied / "run.json").read_text())
    states = {"diverged": [{"replica": int(losses.idxmax()), "step": 10}]}
    (copied / "run.json").write_text(json.dumps({**info, "replica_states": states}))
    assert main([str(copied)]) == 0
    assert f"loss {losses.drop(losses.idxmax()).mean():.6g}" in capsys.readouterr().out
