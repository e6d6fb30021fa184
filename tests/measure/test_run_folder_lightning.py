"""A run folder from somebody's own Lightning training: whole, resumed, stopped, refused; read by the report."""

import json
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from ncbench.measure import MeasureCollapse, measure
from ncbench.measure.__main__ import main as measure_command
from ncbench.records.folder import RunFolder, read_config
from ncbench.records.settings import find_settings
from ncbench.report import figure, load_grams, load_means, load_measures, load_replicas, load_spectra
from ncbench.report.__main__ import main as report
from tests.helpers.foreign_module import Plain

K = 3
LABELS = torch.arange(K).repeat(8)
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:10], LABELS[:10]), (X[10:], LABELS[10:])]
# A checkpoint names the callback that wrote it, which the training that goes on need not have.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
SILENT = dict(enable_progress_bar=False, enable_model_summary=False, logger=False, accelerator="cpu")


def callback(folder=None, **options):
    return MeasureCollapse(["body", "fc"], {"train": BATCHES, "test": BATCHES[:1]}, K, folder=folder, **options)


def fit(measuring, epochs=3, checkpoint=None, module=None, others=()):
    callbacks = [measuring, *others]
    kept = any(isinstance(other, ModelCheckpoint) for other in others)
    trainer = pl.Trainer(max_epochs=epochs, callbacks=callbacks, enable_checkpointing=kept, **SILENT)
    trainer.fit(module or Plain(BATCHES, K), ckpt_path=checkpoint, **({"weights_only": True} if checkpoint else {}))
    return trainer


def info(folder):
    return json.loads((folder / "run.json").read_text())


def values(table):
    """Every value of a table by what it is of."""
    return {(row.step, row.split, row.layer, row.stage, row.measure): row.value for row in table.itertuples()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run of three epochs with NC1 to NC4, its callback, its module."""
    folder, module = tmp_path_factory.mktemp("own") / "run", Plain(BATCHES, K)
    measuring = callback(folder, measures="nc", gram_every=2)
    fit(measuring, module=module)
    return folder, measuring, module


def test_the_folder_says_what_was_measured(run):
    folder, measuring, module = run
    table = load_measures(folder)
    assert set(table.run) == {"run"}
    assert sorted(set(zip(table.step, table.epoch, strict=True))) == [(0, 0.0), (2, 1.0), (4, 2.0), (6, 3.0)]
    assert values(table) == pytest.approx(values(measuring.table()), rel=1e-15, nan_ok=True)
    # Gram matrices before training, after every second epoch, at the end; class means at the first and at the last.
    assert sorted(load_grams(folder).step.unique()) == [0, 4, 6]
    assert sorted(load_means(folder).step.unique()) == [0, 6]
    assert sorted(load_spectra(folder).step.unique()) == [0, 2, 4, 6]
    last = measure(module, {"train": BATCHES}, layers=["body"], num_classes=K, grams=True)
    grams = load_grams(folder, steps="last")
    (gram,) = grams[(grams.layer == "body") & (grams.stage == "post")]["gram"]
    assert gram == pytest.approx(last.grams["body", "post"][0].numpy(), rel=1e-6)


def test_run_json_and_config_say_what_the_trainer_says(run):
    folder, _, _ = run
    said = info(folder)
    assert said["status"] == "done"
    assert said["error"] is None
    assert said["recorded_by"] == "MeasureCollapse"
    assert (said["steps"], said["replicas"], said["seed"]) == (6, 1, None)
    assert set(said["versions"]) >= {"ncbench", "python", "torch", "pytorch-lightning"}
    assert said["final"]["body.post.dnc1"]["median"] == pytest.approx(
        load_measures(folder, ["dnc1"], ["body"], "last").query("split == 'train' and stage == 'post'").value.item()
    )
    assert math.isfinite(said["wall_seconds"])
    config = read_config(folder)
    assert config["optimizer"]["_target_"] == "torch.optim.sgd.SGD"
    assert config["optimizer"]["lr"] == 0.1
    assert config["dataset"] == {"classes": K, "samples": 2}
    assert config["trainer"]["max_epochs"] == 3
    assert config["model"] == {"_target_": f"{Plain.__module__}.Plain", "parameters": 5 * 6 + 6 + 6 * 3 + 3}
    assert load_replicas(folder)[["run", "replica"]].values.tolist() == [["run", 0]]


@pytest.mark.slow  # draws every figure
def test_the_report_reads_it(run):
    folder, _, _ = run
    assert report([str(folder)]) == 0
    for name in ("neural_collapse", "gram", "spectra", "measures"):
        assert (folder / "figures" / f"{name}.png").is_file(), name
    assert "Plain" in (folder / "report.html").read_text()


def test_the_command_that_measures_says_in_one_line_that_it_cannot(run, capsys):
    folder, _, _ = run
    assert measure_command([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "MeasureCollapse has recorded it from a network of your own" in error
    assert error.count("\n") == 1


def test_a_resumed_training_goes_on_in_its_folder(tmp_path):
    folder, whole = tmp_path / "run", callback()
    kept = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    fit(callback(folder), epochs=3, others=[kept])
    before = load_measures(folder)
    # From the checkpoint after the second epoch up to the fifth: what came after it is dropped, nothing is there twice.
    fit(callback(folder), epochs=5, checkpoint=tmp_path / "epoch=1.ckpt")
    after = load_measures(folder)
    assert sorted(after.step.unique()) == [0, 2, 4, 6, 8, 10]
    assert not after.duplicated(["step", "split", "layer", "stage", "measure"]).any()
    columns = ["step", "epoch", "layer", "measure", "value"]
    same = after[after.step <= 4][columns].astype({"layer": str}).reset_index(drop=True)
    assert same.equals(before[before.step <= 4][columns].astype({"layer": str}).reset_index(drop=True))
    fit(whole, epochs=5)
    # An uninterrupted training has the same values.
    assert values(after) == pytest.approx(values(whole.table()), rel=1e-12, nan_ok=True)
    assert (info(folder)["status"], info(folder)["steps"]) == ("done", 10)
    # What was recorded later is dropped also where this training measures seldom.
    fit(callback(folder, epochs=[0, 4]), epochs=4, checkpoint=tmp_path / "epoch=0.ckpt")
    assert sorted(load_measures(folder).step.unique()) == [0, 2, 8]
    assert info(folder)["steps"] == 8


class Stops(pl.Callback):
    def __init__(self, error):
        self.error = error

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "status"), [(RuntimeError("out of memory"), RuntimeError, "failed"),
                                    (KeyboardInterrupt(), SystemExit, "interrupted")]
)  # fmt: skip
def test_a_training_that_stops_says_so_and_may_begin_anew(tmp_path, error, raised, status):
    folder = tmp_path / "run"
    with pytest.raises(raised):
        fit(callback(folder), others=[Stops(error)])
    assert info(folder)["status"] == status
    assert type(error).__name__ in info(folder)["error"]
    assert not RunFolder(folder).is_held()
    assert sorted(load_measures(folder).step.unique()) == [0, 2]
    fit(callback(folder), epochs=1)
    assert (info(folder)["status"], info(folder)["error"]) == ("done", None)
    assert sorted(load_measures(folder).step.unique()) == [0, 2]


def test_an_early_stop_keeps_the_last_gram_matrices(tmp_path):
    class Early(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            trainer.should_stop = trainer.current_epoch == 0

    fit(callback(tmp_path / "run"), epochs=9, others=[Early()])
    assert sorted(load_grams(tmp_path / "run").step.unique()) == [0, 2]
    assert sorted(load_means(tmp_path / "run").step.unique()) == [0, 2]


class Unread:
    def __iter__(self):
        raise AssertionError("the samples are looked at")


def test_refused_before_anything_is_touched(run, tmp_path):
    folder, _, _ = run
    before = (folder / "run.json").read_text()
    with pytest.raises(ValueError, match=r"folder=.*: holds a finished run already; choose another folder, or go on"):
        fit(callback(folder))
    assert (folder / "run.json").read_text() == before
    RunFolder(tmp_path).update(status="done", config_hash="0123")
    with pytest.raises(ValueError, match=r"folder=.*: holds a run that ncbench.train has recorded"):
        fit(callback(tmp_path))
    with RunFolder(tmp_path / "held"), pytest.raises(ValueError, match=r"folder=.*: another process is recording"):
        fit(MeasureCollapse(["body"], Unread(), K, folder=tmp_path / "held"))  # before anything is measured
    with pytest.raises(ValueError, match=r"layers=bodi: the network has no such layer"):
        fit(MeasureCollapse(["bodi"], BATCHES, K, folder=tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"folder=x: measurements go to a sink already"):
        callback("x", sink=print)


def test_a_checkpoint_of_another_network_does_not_go_on(tmp_path):
    folder = tmp_path / "run"
    kept = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    fit(callback(folder), epochs=1, others=[kept])
    two = MeasureCollapse(["body"], BATCHES, 4, folder=folder)
    with pytest.raises(ValueError, match=r"holds a run with dataset.classes=3, not 4"):
        fit(two, epochs=2, checkpoint=tmp_path / "epoch=0.ckpt")


def test_runs_that_differ_in_the_seed_alone_are_one_setting(tmp_path, monkeypatch):
    class Faster(Plain):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.3)

    for name, seed, kind in (("a", "1", Plain), ("b", "2", Plain), ("c", "1", Faster)):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)  # as pl.seed_everything sets it
        network = kind(BATCHES, K)
        network.__class__ = type("Plain", (kind,), {"__module__": Plain.__module__, "__qualname__": "Plain"})
        fit(callback(tmp_path / name), epochs=1, module=network)
    slow, fast = find_settings(tmp_path)
    assert [(network.run, network.seed) for network in slow.networks] == [("a", 1), ("b", 2)]
    assert [(network.run, network.seed) for network in fast.networks] == [("c", 1)]
    assert (slow.values, fast.values) == ({"optimizer.lr": 0.1}, {"optimizer.lr": 0.3})


def test_without_a_folder_it_can_be_written_afterwards(run, tmp_path):
    folder, _, _ = run
    measuring = callback(measures="nc", gram_every=2)
    with pytest.raises(ValueError, match="MeasureCollapse has measured nothing yet"):
        measuring.write_run(tmp_path / "run")
    fit(measuring)
    measuring.write_run(tmp_path / "run")
    for load in (load_measures, load_spectra):
        assert load(tmp_path / "run").equals(load(folder))
    for load, column in ((load_grams, "gram"), (load_means, "mean")):
        written, at_once = load(tmp_path / "run"), load(folder)
        assert [x.tolist() for x in written[column]] == [x.tolist() for x in at_once[column]]
    assert figure.neural_collapse(tmp_path / "run").axes
