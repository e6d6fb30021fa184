"""Micro-batches, compiled networks and fused optimisers: less time or memory, and the same function."""

from functools import partial

import pytest
import torch
from torch import nn

from ncbench import train
from ncbench.models import BackboneWithHead, ResNet20, SmallConvNet
from ncbench.run import session
from ncbench.training import ClassifierModule
from ncbench.training import speed as speed_module
from ncbench.training.speed import Fused, in_micro_batches

TINY = ["+experiment=digits_mlp", "dataset.per_class=12", "trainer.max_epochs=2", "measure.points=3"]
TINY += ["trainer.progress=false", "trainer.checkpoint_seconds=0"]


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(2.0))
        self.unused = nn.Parameter(torch.tensor(1.0))


def mean_square(module, batch):
    x, y = batch
    return (module.w * x - y).square().mean()


def test_a_gradient_worked_by_hand():
    """x = 1, 2, 3 and y = 0: the loss is w^2 14/3 = 56/3 at w = 2, its derivative 2 w 14/3 = 56/3."""
    module, batch = Line(), (torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3))
    loss = in_micro_batches(partial(mean_square, module), batch, 2, module)  # parts of two and of one sample
    loss.backward()
    assert float(loss.detach()) == pytest.approx(56 / 3)
    assert float(module.w.grad) == pytest.approx(56 / 3)
    assert module.unused.grad is None
    (3 * in_micro_batches(partial(mean_square, module), batch, 2, module)).backward()  # gradients add up, and scale
    assert float(module.w.grad) == pytest.approx(4 * 56 / 3)


class Shared(nn.Module):
    """p and q enter as a sum, so autograd has one tensor for the gradients of both; that of t is an expanded one."""

    def __init__(self):
        super().__init__()
        self.p, self.q, self.t = (nn.Parameter(torch.full((2,), x)) for x in (1.0, 2.0, 3.0))


def shared_loss(module, batch):
    x, _ = batch
    return (x * (module.p + module.q)).sum(1).mean() + x.mean() * module.t.sum()


def test_parameters_with_one_gradient_do_not_get_it_twice():
    module, batch = Shared(), (torch.arange(10.0).view(5, 2), torch.zeros(5))
    in_micro_batches(partial(shared_loss, module), batch, 2, module).backward()
    assert module.p.grad.tolist() == pytest.approx([4.0, 5.0])  # the means of the two columns
    assert module.q.grad.tolist() == pytest.approx([4.0, 5.0])
    assert module.t.grad.tolist() == pytest.approx([4.5, 4.5])


def classifier(backbone, *, regulariser="dufm_like", dtype=torch.float64):
    network = BackboneWithHead(depth=3, width=12, backbone=backbone, input_shape=(1, 8, 8), num_classes=10, seed=0)
    return ClassifierModule(
        loss="mse",
        regulariser=regulariser,
        weight_decay=1e-3,
        feature_decay=2e-3 if regulariser == "dufm_like" else None,
        network=network.to(dtype),
        num_samples=500,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )


def images(count, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 1, 8, 8, generator=generator, dtype=dtype)
    return x, torch.arange(count) % 10


def gradients(module, batch, micro_batch):
    module.micro_batch = micro_batch
    module.zero_grad()
    loss = module.training_step(batch, 0)
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in module.parameters()]


def naive(module, batch):
    """The objective of a whole batch, written out: 1/(2b) sum ||f - e_y||^2 + (N/b) lam_H/2 sum ||h||^2."""
    x, y = batch
    h = module.network.features(x)
    outputs = module.network.head(h)
    fit = sum(((outputs[i] - torch.eye(10, dtype=x.dtype)[y[i]]) ** 2).sum() for i in range(len(y))) / (2 * len(y))
    return fit + 500 / len(y) * 2e-3 / 2 * sum((row**2).sum() for row in h)


@pytest.mark.parametrize("micro_batch", [1, 5, 8, 22, 23, 100])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batch):
    """23 samples: the last part is smaller, of one sample, or there is one part only."""
    module, batch = classifier(SmallConvNet), images(23)
    loss, found = gradients(module, batch, micro_batch)
    module.zero_grad()
    expected = naive(module, batch)
    expected.backward()
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-13)
    for gradient, parameter in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-11, atol=1e-13)


def test_a_mean_over_micro_batches_would_be_seen(mutant, monkeypatch):
    """Weighted alike, a smaller last part counts too much."""
    wrong = mutant(speed_module, "len(part[1]) / len(labels))", "size / len(labels))")
    module, batch = classifier(SmallConvNet), images(23)
    _, whole = gradients(module, batch, None)
    for in_parts, same in ((in_micro_batches, True), (wrong.in_micro_batches, False)):
        monkeypatch.setattr("ncbench.training.classifier.in_micro_batches", in_parts)
        _, found = gradients(module, batch, 10)
        close = all(torch.allclose(a, b, rtol=1e-9, atol=0) for a, b in zip(found, whole, strict=True))
        assert close is same


def test_batch_normalisation_sees_micro_batches():
    """Its running statistics move with each part, so they and the gradients are those of the parts."""
    module, batch = classifier(ResNet20), images(20)
    _, parts = gradients(module, batch, 10)
    assert int(module.network.features.stem[1].num_batches_tracked) == 2
    _, whole = gradients(classifier(ResNet20), batch, None)
    assert not torch.allclose(parts[0], whole[0], rtol=1e-3)


def test_the_head_keeps_float32_in_the_backward_pass_of_a_part():
    """Under autocast a gradient made inside the step would be rounded to 8 bits: the head's is not."""
    module, batch = classifier(SmallConvNet, dtype=torch.float32), images(20, torch.float32)
    found = {}
    for micro_batch in (None, 10):
        with torch.autocast("cpu", torch.bfloat16):
            module.micro_batch = micro_batch
            module.zero_grad()
            loss = module.training_step(batch, 0)
        loss.backward()
        found[micro_batch] = module.network.head[2].linear.weight.grad.clone()
    torch.testing.assert_close(found[10], found[None], rtol=1e-3, atol=1e-6)


def test_inputs_that_cannot_be_divided():
    module = classifier(SmallConvNet)
    module.micro_batch = 2
    x, y = images(4)
    with pytest.raises(ValueError, match="micro_batch=2 divides batches of tensors only"):
        module.training_step(([x], y), 0)


def test_fused_where_it_is_wanted():
    parameter = nn.Parameter(torch.ones(2))
    groups = [{"params": [parameter], "weight_decay": 0.1}]
    sgd = partial(torch.optim.SGD, lr=0.1)
    assert [Fused(sgd, wanted)(groups).defaults["fused"] for wanted in (None, False, True)] == [None, None, True]
    assert "fused" not in Fused(partial(torch.optim.Rprop, lr=0.1), None)(groups).defaults
    with pytest.raises(ValueError, match="fused=True: Rprop has no fused step"):
        Fused(partial(torch.optim.Rprop, lr=0.1), True)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_fused_optimiser_follows_the_same_path(optimizer, tmp_path):
    """Up to rounding: its steps are not the same bits, so it is another run."""
    ends = {}
    for fused in ("false", "true"):
        folder = tmp_path / fused
        assert train.main([*TINY, f"optimizer={optimizer}", f"trainer.fused={fused}", f"hydra.run.dir={folder}"]) == 0
        ends[fused] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, x in ends["false"].items():
        torch.testing.assert_close(ends["true"][name], x, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.micro_batch=0"], "trainer.micro_batch=0: must be >= 1"),
        (["trainer.micro_batch=64", "trainer.devices=2"], "trainer.micro_batch=64: the micro-batches of one batch"),
        (["trainer.fused=true", "optimizer=other"], "optimizer"),
        (["trainer.compile=maybe"], "trainer.compile=maybe: must be true or false"),
        (["+experiment=dufm_k10", "trainer.compile=true"], "trainer.compile=True: only networks in mini-batches"),
        (["+experiment=dufm_k10", "trainer.micro_batch=8"], "trainer.micro_batch=8: only networks in mini-batches"),
        (["+experiment=dufm_k10", "trainer.fused=true"], "trainer.fused=True: only networks in mini-batches"),
    ],
)
def test_refused_in_one_line(overrides, message, capsys):
    assert train.main(overrides) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_network_trains_is_measured_uncompiled_and_resumes(tmp_path, monkeypatch):
    """The same names in the checkpoint, the same path up to rounding, no graph for measuring, resumed bit for bit."""
    small = [*TINY, "model=convnet", "trainer.max_epochs=3", "measure.points=4", "trainer.compile=true"]
    plain = ["trainer.compile=false", f"hydra.run.dir={tmp_path / 'plain'}"]
    assert train.main([*small, *plain]) == 0
    torch._dynamo.utils.counters.clear()
    assert train.main([*small, f"hydra.run.dir={tmp_path / 'whole'}"]) == 0
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 2 <= graphs <= 4, "features and head, once more each for the last, smaller batch; none for measuring"
    record, calls = session.RunSession._record, []

    def stops(self, *arguments):
        record(self, *arguments)
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert train.main([*small, f"hydra.run.dir={tmp_path / 'resumed'}"]) == 1
    assert train.main([*small, f"hydra.run.dir={tmp_path / 'resumed'}"]) == 0
    ends = {
        name: torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("plain", "whole", "resumed")
    }
    assert list(ends["plain"]) == list(ends["whole"])
    for name, x in ends["plain"].items():
        torch.testing.assert_close(ends["whole"][name], x, rtol=1e-3, atol=1e-5)
        assert torch.equal(ends["whole"][name], ends["resumed"][name])
