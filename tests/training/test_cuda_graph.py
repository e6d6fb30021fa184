"""A training step as one CUDA graph: what surrounds the recording, on a pretended device, and what is measured where.

On a real device `test_no_host_sync.py` compares a recorded training with one on the CPU.
"""

from contextlib import nullcontext

import pytest
import torch
from rich.console import Console

from ncbench import train
from ncbench.records.folder import RunFolder
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs
from ncbench.run.session import RunSession
from ncbench.run.signals import StopSignals
from ncbench.training import speed as speed_module
from ncbench.training.speed import StepGraph

TINY = ["+experiment=digits_mlp", "dataset.per_class=12", "trainer.max_epochs=2", "measure.points=3"]


class Stream:
    def wait_stream(self, other):
        pass


class Again:
    """In place of a recorded graph: a replay computes what was recorded again, from the same tensors into the same."""

    def __init__(self, loss, batch, parameters, value, gradients):
        self.loss, self.batch, self.parameters, self.value, self.gradients = loss, batch, parameters, value, gradients

    def replay(self):
        value, gradients = speed_module._value_and_gradients(self.loss, self.batch, self.parameters)
        for old, new in zip([self.value, *self.gradients], [value, *gradients], strict=True):
            if old is not None:
                old.copy_(new)


@pytest.fixture
def pretended(monkeypatch):
    """CPU tensors that say they are on a CUDA device, streams that do nothing, and graphs that compute again."""
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())

    def with_pretended_recordings(kind):
        class Pretended(kind):
            recorded = 0

            def _record(self, batch_loss, inputs, labels, parameters):
                type(self).recorded += 1
                batch = (inputs, labels)
                value, gradients = speed_module._value_and_gradients(batch_loss, batch, parameters)
                value, gradients = value.clone(), [None if x is None else x.clone() for x in gradients]
                return Again(batch_loss, batch, parameters, value, gradients), inputs, labels, value, gradients

        return Pretended

    return with_pretended_recordings


def batches():
    """Two sizes in turns, other numbers every time."""
    generator = torch.Generator().manual_seed(0)
    for number in range(10):
        size = 8 if number % 2 else 12
        yield torch.randn(size, 1, 8, 8, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def path(module, graph):
    """Loss and gradients of every batch, added to the same .grad as a loss is to another."""
    module.step_graph = graph
    for number, batch in enumerate(batches()):
        module.zero_grad()
        loss = module.training_step(batch, number)
        (loss + loss).backward()  # twice: the gradients have to follow the derivative that comes from outside
        yield loss.detach().clone(), [p.grad.clone() for p in module.parameters()]


def test_replays_give_the_loss_and_gradients_of_every_batch(pretended, mutant):
    config = compose_jobs([*TINY, "objective.loss=ce", "references=[]"], multirun=False)[0].config
    module = build(config).module
    plain = list(path(module, None))
    kind = pretended(StepGraph)
    assert all(same(a, b) for a, b in zip(path(module, kind()), plain, strict=True))
    assert kind.recorded == 2  # one graph for each size
    for bug in ("own_inputs.copy_(inputs)", "own_labels.copy_(labels)"):
        wrong = pretended(mutant(speed_module, bug, "pass").StepGraph)
        assert not all(same(a, b) for a, b in zip(path(module, wrong()), plain, strict=True))


def same(one, other):
    return torch.equal(one[0], other[0]) and all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.cuda_graph=true", "trainer.accelerator=cpu"], "trainer.cuda_graph=True: must be trained on a CUDA"),
        (["trainer.cuda_graph=true", "trainer.micro_batch=8"], "trainer.cuda_graph=True: one graph is a step of one"),
        (["trainer.cuda_graph=true", "trainer.devices=2"], "trainer.cuda_graph=True: one graph is a step of one"),
        (["trainer.cuda_graph=true", "trainer.compile=true"], "trainer.cuda_graph=True: one graph is a step of one"),
        (["trainer.cuda_graph=maybe"], "trainer.cuda_graph=maybe: must be true or false"),
        (["+experiment=dufm_k10", "trainer.cuda_graph=true"], "trainer.cuda_graph=True: only networks in mini-batches"),
    ],
)
def test_refused_in_one_line(overrides, message, capsys):
    assert train.main(overrides) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_images_to_be_measured_lie_where_the_network_is_trained(tmp_path, monkeypatch):
    """Left on the CPU they would be normalised there and sent to the GPU in every pass. Meta tensors pretend one."""
    monkeypatch.setattr("ncbench.run.session.training_device", lambda trainer: torch.device("meta"))
    monkeypatch.setattr("ncbench.data.images.ImageSet.__post_init__", lambda self: None)  # it reads the labels
    config = compose_jobs([*TINY, "measure.splits=[train,test]"], multirun=False)[0].config
    session = RunSession(config, RunFolder(tmp_path), Console(quiet=True), StopSignals())
    for loader in session.collapse.loaders.values():
        inputs, labels = next(iter(loader))
        assert (inputs.device.type, labels.device.type) == ("meta", "meta")
