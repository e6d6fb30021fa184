"""The torchmetrics wrapper: exact over batches, merges and devices' dtypes."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ncbench import core
from ncbench.core import ClassMoments
from ncbench.measure import CollapseMetric, metric
from tests.helpers.foreign_module import Plain

K, D = 3, 4


def samples(std=0.5, n=30):
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(n) % K
    return torch.randn(K, D, generator=rng)[y] + std * torch.randn(n, D, generator=rng), y


def fed(H, y, cuts=(7, 20), cls=CollapseMetric):
    found = cls(K, D)
    for a, b in zip([0, *cuts], [*cuts, len(y)], strict=True):
        found.update(H[a:b], y[a:b])
    return found


def test_worked_by_hand():
    found = CollapseMetric(num_classes=2, num_features=1)
    found.update(torch.tensor([[0.0], [10.0]]), torch.tensor([0, 1]))
    found.update(torch.tensor([[2.0], [14.0]]), torch.tensor([0, 1]))
    values = found.compute()
    assert values["tcv"].item() == 2.5
    assert values["dnc1"].item() == pytest.approx(2.5 / 30.25, rel=1e-14)
    assert values["cdnv"].item() == pytest.approx((1 + 4) / (2 * 121), rel=1e-14)
    assert {x.dtype for x in values.values()} == {torch.float64}


@pytest.mark.parametrize("std", [0.5, 1e-6])
def test_equals_one_batch_in_float64(std):
    H, y = samples(std)
    values, moments = fed(H, y).compute(), ClassMoments.from_batch(H.double(), y, K)
    for name, function in (("tcv", core.total_cluster_variation), ("dnc1", core.scatter_ratio), ("cdnv", core.cdnv)):
        assert values[name].item() == pytest.approx(function(moments).item(), rel=1e-9), name
    assert values["etf_error"].item() == pytest.approx(core.etf_error(moments.means).item(), rel=1e-9)


def test_merge_state_and_forward_agree_with_updates():
    H, y = samples()
    whole, a, b = fed(H, y).compute(), fed(H[:11], y[:11], ()), fed(H[11:], y[11:], ())
    a.merge_state(b)
    stepwise = CollapseMetric(K, D)
    first = stepwise(H[:11], y[:11])
    stepwise(H[11:], y[11:])
    for name, value in whole.items():
        assert a.compute()[name].item() == pytest.approx(value.item(), rel=1e-12)
        assert stepwise.compute()[name].item() == pytest.approx(value.item(), rel=1e-12)
    assert first["tcv"].item() == pytest.approx(fed(H[:11], y[:11], ()).compute()["tcv"].item())


def test_states_stay_float64_tensors_and_updates_are_out_of_place():
    H, y = samples()
    found = CollapseMetric(K, D)
    assert all(isinstance(getattr(found, name), torch.Tensor) for name in found._defaults)
    default = found.state
    copy = default.clone()
    found.update(H, y)
    assert torch.equal(default, copy)
    assert torch.equal(found._defaults["state"], copy)
    holder = nn.ModuleDict({"metric": found, "layer": nn.Linear(1, 1)}).half()
    assert holder["layer"].weight.dtype == torch.float16
    assert found.state.dtype == torch.float64
    with pytest.raises(
        ValueError, match="dst_type=torch.float32 must be torch.float64, the dtype of a CollapseMetric's states"
    ):
        found.set_dtype(torch.float32)
    found.reset()
    assert torch.equal(found.state, copy)


def test_wrong_input():
    with pytest.raises(ValueError, match="num_classes=1 must be at least 2"):
        CollapseMetric(1, D)
    with pytest.raises(ValueError, match="num_features=0 must be at least 1"):
        CollapseMetric(K, 0)
    found = CollapseMetric(K, D)
    with pytest.raises(ValueError, match=r"features must be \(N, 4\), got \(2, 3\)"):
        found.update(torch.randn(2, 3), torch.zeros(2, dtype=torch.int64))
    found.update(torch.randn(3, D), torch.tensor([0, 1, K]))
    with pytest.raises(
        ValueError, match=r"num_classes=3 needs labels in \[0, 2\], but the data has labels in \[0, 3\]"
    ):
        found.compute()
    with pytest.raises(ValueError, match="missing_classes=drop must be nan or skip"):
        CollapseMetric(K, D, missing_classes="drop")


def test_a_batch_that_lacks_a_class_is_nan_or_of_the_classes_that_are_there():
    H, y = samples()
    two = y < 2
    values = CollapseMetric(K, D)(H[two], y[two])
    assert {name for name, x in values.items() if not x.isnan()} == {"tcv", "tcv_relative"}
    skipped = CollapseMetric(K, D, missing_classes="skip")(H[two] + 0.0, y[two])
    alone = CollapseMetric(2, D)(H[two], y[two])
    assert {name: float(x) for name, x in skipped.items()} == {name: float(x) for name, x in alone.items()}
    without_the_first = CollapseMetric(K, D, missing_classes="skip")(H[~two], y[~two])
    assert without_the_first["tcv"].item() == pytest.approx(H[~two].double().var(0, correction=0).sum().item())


def test_a_training_meets_no_error_of_the_metric():
    class Module(Plain):
        def __init__(self):
            super().__init__([(torch.randn(4, 5), torch.tensor([0, 0, 1, 1]))], K)
            self.collapse = CollapseMetric(K, 6)

        def val_dataloader(self):
            return torch.utils.data.DataLoader(
                [(torch.randn(3, 5), torch.zeros(3, dtype=torch.int64))], batch_size=None
            )

        def validation_step(self, batch, _):
            self.log_dict({f"nc/{name}": x.float() for name, x in self.collapse(self.body(batch[0]), batch[1]).items()})

    silent = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", **silent)
    trainer.fit(Module())
    assert trainer.current_epoch == 1
    assert trainer.callback_metrics["nc/tcv"] > 0


def test_a_module_moved_to_another_dtype_leaves_the_states_exact():
    H, y = samples(std=1e-6)
    holder = nn.ModuleDict({"metric": fed(H, y), "layer": nn.Linear(1, 1)})
    for move in (lambda m: m.to(torch.float16), lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.to("cpu")):
        move(holder)
        assert {x.dtype for x in (holder["metric"].state, holder["metric"]._defaults["state"])} == {torch.float64}
        assert torch.equal(holder["metric"].state, fed(H, y).state)
    assert holder["layer"].weight.dtype == torch.bfloat16


def test_a_planted_bug_that_adds_the_states_of_processes_up_is_seen(mutant):
    bug = mutant(metric, "return pack(merged(states, nothing))[0]", "return states.sum(0)").CollapseMetric
    H, y = samples()
    a, b = fed(H[:11], y[:11], (), bug), fed(H[11:], y[11:], (), bug)
    a.merge_state(b)
    assert a.compute()["tcv"].item() != pytest.approx(fed(H, y).compute()["tcv"].item(), rel=1e-3)
