"""A user's own data by one yaml outside the repository: the examples of docs/data.md, and what is refused."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from ncbench import load_run
from ncbench.measure.__main__ import main as measure
from ncbench.records.folder import RunFolder
from ncbench.report import load_measures
from ncbench.run import session
from ncbench.train import main as train

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
BLOCKS = re.findall(r"```yaml\n(# @package _global_\n# MINE/experiment/(\w+)\.yaml\n.*?)```", PAGE, re.DOTALL)
EXAMPLES = {name: text for text, name in BLOCKS}
(MINE,) = re.findall(r"```python\n(# mine\.py\n.*?)```", PAGE, re.DOTALL)
QUIET = ["trainer.progress=false", "trainer.checkpoint_seconds=0", "trainer.accelerator=cpu", "measure.points=3"]
OTHERS = """

class Torn(Rings):
    def __getitem__(self, index):
        raise OSError("no such sample")


class Half(Rings):
    def __getitem__(self, index):
        return self.points[index], 0.5


class Uneven(Rings):
    def __init__(self, samples):
        super().__init__(samples)
        self.labels = (torch.arange(samples) > 0).long() * (1 + torch.arange(samples) % 2)


def number():
    return 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the examples of the page, their module and their files, as the current one."""
    (tmp_path / "MINE" / "experiment").mkdir(parents=True)
    for name, text in EXAMPLES.items():
        (tmp_path / "MINE" / "experiment" / f"{name}.yaml").write_text(text)
    (tmp_path / "mine.py").write_text(MINE + OTHERS)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 4 + 1
    torch.save(torch.randn(64, 6, generator=generator).double() + 2 * torch.eye(6)[labels], tmp_path / "inputs.pt")
    torch.save(labels, tmp_path / "labels.pt")
    for kind, colour in (("ants", (200, 60, 40)), ("bees", (40, 60, 200))):
        (tmp_path / "pictures" / "train" / kind).mkdir(parents=True)
        for number in range(6):
            picture = Image.new("RGB", (20, 18), colour)
            picture.putpixel((number, number), (255, 255, 255))
            picture.save(tmp_path / "pictures" / "train" / kind / f"{number}.png")
    shutil.copytree(tmp_path / "pictures" / "train" / "bees", tmp_path / "pictures" / "test" / "bees")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    return tmp_path


def run(name, folder, *overrides):
    return train(["--config-dir", "MINE", f"+experiment={name}", f"hydra.run.dir={folder}", *QUIET, *overrides])


def final(folder):
    """The values of the whole network at the last step, by split and measure."""
    table = load_measures(folder)
    last = table[(table.step == table.step.max()) & (table.layer == "")]
    return {(row.split, row.measure): row.value for row in last.itertuples()}


def weights(folder):
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_the_page_has_the_examples():
    assert list(EXAMPLES) == ["tensors", "pictures", "learned_pictures", "rings", "few_rings", "rings_module"]


# Samples, classes, shape, sizes of the classes, splits; a class of 1 + 40/4 needs no rounding.
EXPECTED = {
    "tensors": (64, 4, (6,), [16] * 4, {"train"}),
    "pictures": (12, 2, (3, 16, 16), [6, 6], {"train"}),
    "learned_pictures": (12, 2, (1, 16, 16), [6, 6], {"train"}),
    "rings": (60, 3, (2,), [20] * 3, {"train"}),
    "few_rings": (90, 3, (2,), [40, 40, 10], {"train", "test"}),
    "rings_module": (90, 3, (2,), None, {"train", "test"}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_page(place, name, capsys):
    samples, classes, shape, counts, splits = EXPECTED[name]
    assert run(name, "run") == 0
    trust = ["mine"] if "rings" in name else []  # the others have torch's and torchvision's classes alone
    module, data, config = load_run("run", trust=trust)
    assert (len(data.train), data.num_classes, data.input_shape) == (samples, classes, shape)
    assert counts is None or data.train.counts == counts
    assert set(load_measures("run").split) - {""} == splits
    recorded = final("run")
    assert 0 < recorded["train", "loss"] < 2
    # The fit, by hand, of what is measured: 1/(2N) sum ||f(x) - e_y||^2, or 1/N sum -log softmax(f(x))_y.
    total = 0.0
    for x, y in data.measure_loader("train", batch_size=7):
        with torch.no_grad():
            outputs, hot = module.network(x.float()), torch.eye(classes)[y]
            squares, logs = (outputs - hot).square().sum(), -(hot * outputs.log_softmax(1)).sum()
            total += float(logs * 2 if config.objective.loss == "ce" else squares)
    assert abs(recorded["train", "fit"] - total / (2 * samples)) < 1e-5
    capsys.readouterr()
    assert measure(["run", "--split", sorted(splits)[0], "--per-class", "3", *(f"--trust={x}" for x in trust)]) == 0
    assert "accuracy" in capsys.readouterr().out
    # How many processes read does not make it another run.
    assert run(name, "run", *(["dataset.num_workers=1"] if "override /dataset: torch" in EXAMPLES[name] else [])) == 0
    assert "already done" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["pictures", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tensors", "rings_module"))]
)
def test_an_interrupted_run_continues_exactly(place, name, monkeypatch):
    """Pictures are turned at random, tensors are in memory, the module's split is drawn."""
    workers = ["dataset.num_workers=0"] if name == "pictures" else []
    overrides = [*workers, "trainer.max_epochs=4", "measure.points=4"]
    assert run(name, "whole", *overrides) == 0
    real = session.RunSession._record

    def stops(self, step, epoch, found, network):
        real(self, step, epoch, found, network)
        if epoch == 2:
            raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert run(name, "stopped", *overrides) == 1
    assert run(name, "stopped", *overrides) == 0
    one, two = weights("whole"), weights("stopped")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert RunFolder(Path("whole")).info()["digests"] == RunFolder(Path("stopped")).info()["digests"]


def test_a_run_says_what_it_noticed(place):
    assert run("pictures", "run", "dataset.evaluation=null", "dataset.num_workers=0", "trainer.max_epochs=1") == 0
    assert run("tensors", "other", "trainer.max_epochs=1") == 0
    assert "train is random: where it is measured" in Path("run/ncbench.log").read_text()
    assert "the labels of train are numbered anew, 0 to 3: 1, 2, 3, 4" in Path("other/ncbench.log").read_text()
    assert "random" not in Path("other/ncbench.log").read_text()


def test_precision(place):
    """Inputs of 64 bits: in a run of 64 none is lost, in one of 32 they are converted."""
    losses = {}
    for precision in ("32", "64"):
        assert run("tensors", precision, f"trainer.precision={precision}") == 0
        losses[precision] = final(precision)["train", "loss"]
    assert 0 < abs(losses["32"] - losses["64"]) < 1e-5
    _, data, _ = load_run("64")
    assert torch.equal(data.train.inputs[0], torch.load("inputs.pt")[0])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("pictures", ["~dataset.train.transform"], r"dataset.train\[0\]: is a PIL image; give the Dataset a transform"),
        ("pictures", ["dataset.train.root=absent"], r": dataset.train.root=absent: No such file or directory$"),
        ("pictures", ["dataset.evaluation.root=absent/"], r": dataset.evaluation.root=absent/: No such file"),
        ("pictures", ["dataset.evaluation.root=no/folder"], r": dataset.evaluation.root=no/folder: No such file"),
        ("pictures", ["dataset.train.root=pictures/train/ants"], r": dataset.train.root=pictures/train/ants: Couldn't"),
        ("pictures", ["dataset.train._target_=null"], r"dataset.train=.*: a Dataset is needed, as in {_target_: "),
        (
            "pictures",
            ["dataset.test={_target_:torchvision.datasets.ImageFolder,root:pictures/test}"],
            r"dataset.test: has the classes bees, and train has ants, bees",
        ),
        ("pictures", ["dataset.evaluation=null", "dataset.memory=true"], r"dataset.memory=True: train is random"),
        ("tensors", ["model=convnet"], r"input_shape=\(6,\) must be \(C, H, W\); model=mlp takes"),
        ("tensors", ["model=resnet20"], r"input_shape=\(6,\) must be \(C, H, W\); model=mlp takes"),
        ("tensors", ["model.width=3"], r"model.width=3 must be at least the number of classes \(4\)"),
        ("tensors", ["dataset.num_classes=5"], r"dataset.train: num_classes=5 needs a sample of every"),
        ("tensors", ["measure.splits=[train,test]"], r"split=test has no sample, as dataset.test is empty"),
        ("tensors", ["trainer.devices=2"], r"trainer.devices=2: only image sets in memory share their batches"),
        ("tensors", ["dataset.batch=3"], r"dataset.batch"),
        ("tensors", ["dataset.train=null"], r"dataset.train"),
        ("rings", ["dataset._target_=mine.Torn"], r"train\[0\]: cannot be read \(OSError: no such sample\)"),
        ("rings", ["dataset._target_=mine.Half"], r"train\[0\]: a label must be a whole number .* not 0.5"),
        ("rings", ["dataset._target_=mine.number", "~dataset.samples"], r"dataset._target_: makes a value of type int"),
        (
            "rings",
            ["+dataset.colour=red"],
            r"dataset.colour: Rings takes no argument of that name; its arguments are every key of dataset "
            r"\(samples, colour\), and dataset=other begins with none",
        ),
        ("few_rings", ["dataset.minority=0.5"], r"dataset.minority=0.5 must be the share of a whole number of classes"),
        ("few_rings", ["dataset.label_noise=2"], r"dataset.label_noise=2.0: must be in \[0, 1\]"),
        (
            "few_rings",
            ["references=[{name: dnc, _target_: ncbench.theory.dufm_mse.dnc_loss}]"],
            r"dataset.imbalance=4.0: the theory lines are those of equal classes; use references=\[\]",
        ),
        (
            "rings",
            ["references=[{name: dnc, _target_: ncbench.theory.dufm_mse.dnc_loss}]", "dataset._target_=mine.Uneven"],
            r"references=\['dnc'\]: the theory lines .* the classes of this dataset have 1 to 30 samples; use ref",
        ),
    ],
)  # fmt: skip
def test_refused_in_one_line(place, name, overrides, message, capsys):
    assert run(name, "run", *overrides) == 2
    error = capsys.readouterr().err.strip()
    assert re.search(message, error), error
    assert "\n" not in error
    assert not (place / "run").exists()
