"""32, 64 and mixed precision: what is trained in which, what is measured, and which run it is."""

import pytest
import torch

from ncbench import load_run, train
from ncbench.config.identity import differences
from ncbench.config.validate import validate_recorded
from ncbench.measure import measure_network
from ncbench.models.backbones import SmallMLP
from ncbench.records.run_hash import run_id
from ncbench.report import load_measures
from ncbench.run.compose import compose_jobs
from ncbench.training.objectives import PaperObjective

TINY = ["+experiment=digits_mlp", "dataset.per_class=12", "trainer.max_epochs=2", "measure.points=3"]
TINY += ["trainer.progress=false"]


def job(*overrides):
    (composed,) = compose_jobs([*overrides], multirun=False)
    return composed


def test_the_names_of_runs_are_those_of_dtype():
    """As computed before `trainer.dtype` was renamed."""
    ids = {"+experiment=sukenik24/fig1": "654099dc8c", "+experiment=garrod25/dimension_count": "1352a62a6a"}
    before = "model.init_generator=torch"
    assert {name: run_id(differences(job(name, before).config)) for name in ids} == ids
    digits = job("+experiment=digits_mlp").values
    trainer = {key: value for key, value in digits["trainer"].items() if key != "precision"}
    for dtype, precision in (("float32", 32), ("float64", "64")):
        recorded = validate_recorded({**digits, "trainer": {**trainer, "dtype": dtype}})
        today = job("+experiment=digits_mlp", f"trainer.precision={precision}").config
        assert differences(recorded) == differences(today)
        assert recorded.trainer == today.trainer
    mixed = job("+experiment=digits_mlp", "trainer.precision=bf16-mixed").config
    assert differences(mixed)["trainer"] == {"max_epochs": 1000, "precision": "bf16-mixed"}
    assert differences(today)["trainer"] == {"max_epochs": 1000, "dtype": "float64"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.dtype=float64"], "trainer.dtype: is now trainer.precision (32, 64 or bf16-mixed)"),
        (["+trainer.dtype=float64"], "trainer.dtype=float64: is now trainer.precision (32, 64 or bf16-mixed)"),
        (["trainer.precision=16"], "trainer.precision=16: must be one of 32, 64, bf16-mixed"),
        (
            ["+experiment=dufm_k10", "trainer.precision=bf16-mixed"],
            "trainer.precision=bf16-mixed: only networks in",
        ),
        (
            ["+experiment=zangrando24/fig1_blobs_quick", "trainer.precision=bf16-mixed"],
            "full-batch problems take 32 or",
        ),
    ],
)
def test_refused_in_one_line(overrides, message, capsys):
    assert train.main(overrides) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_mixed_precision_trains_in_bfloat16_and_measures_in_float32(tmp_path, monkeypatch):
    dtypes, in_backbone, real = set(), set(), PaperObjective.batch_estimate

    def looks(self, outputs, features, labels):
        dtypes.add((outputs.dtype, features.dtype, torch.is_autocast_enabled("cpu")))
        return real(self, outputs, features, labels)

    monkeypatch.setattr(PaperObjective, "batch_estimate", looks)
    forward = SmallMLP.forward
    monkeypatch.setattr(
        SmallMLP, "forward", lambda self, x: in_backbone.add(forward(self, x).dtype) or forward(self, x)
    )
    runs = {}
    for precision in ("32", "bf16-mixed"):
        runs[precision] = tmp_path / precision
        assert train.main([*TINY, f"trainer.precision={precision}", f"hydra.run.dir={runs[precision]}"]) == 0
    assert dtypes == {(torch.float32, torch.float32, False)}  # the head and the sums, whatever the precision
    assert in_backbone == {torch.float32, torch.bfloat16}
    module, data, config = load_run(runs["bf16-mixed"])
    assert config.trainer.precision == "bf16-mixed"
    assert {x.dtype for x in module.network.parameters()} == {torch.float32}
    mine = measure_network(module.network, data.measure_loader("train", 250), layers=["features"], num_classes=10)
    mine = mine[(mine.measure == "dnc1") & (mine.layer == "features")].value.item()
    recorded = load_measures(runs["bf16-mixed"], measures=["dnc1"], layers=["features"])
    assert recorded[(recorded.split == "train")].value.iloc[-1] == mine
    losses = [load_measures(run, measures=["loss"]).value.to_numpy() for run in runs.values()]
    # The same start, and then steps that are rounded to 8 bits: close, but not the same.
    assert losses[0][0] == losses[1][0]
    assert losses[0][-1] != losses[1][-1]
    assert losses[0][-1] == pytest.approx(losses[1][-1], rel=0.01)


def test_bfloat16_does_not_reach_the_sums(monkeypatch):
    """What the network gives in bfloat16 is summed in float32: 4096 terms of 1 + 1/128 would round away in 8 bits."""
    module = train_module()
    features = torch.full((4, 4096), 1.0078125, dtype=torch.bfloat16)
    monkeypatch.setattr(module.network.features, "forward", lambda _: features)
    monkeypatch.setattr(module.network.head, "forward", lambda h: h[:, :10] * 0)
    loss = module.training_step((torch.zeros(4, 1, 8, 8), torch.arange(4)), 0)
    # 1/2 of the one-hot targets, and N/b lam_H/2 of 4 x 4096 squares.
    assert float(loss) == pytest.approx(0.5 + 120 * 5e-5 / 2 * 4096 * 1.0078125**2, rel=1e-6)


def train_module():
    from ncbench.run.build import build

    return build(job(*TINY, "objective.feature_decay=5e-5").config).module
