"""A run folder from a loop in plain PyTorch: one call of `measure_network` after another."""

import json

import pytest
import torch
from torch import nn

from ncbench import core
from ncbench.measure import measure_network
from ncbench.records.folder import RunFolder
from ncbench.report import figure, load_grams, load_means, load_measures, load_spectra

K = 3
Y = torch.arange(K).repeat(8)
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
LOADER = [(X[:10], Y[:10]), (X[10:], Y[10:])]


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, K))


def train(folder, epochs, net=None):
    """Her loop: the measures before training and after every epoch."""
    net = net or network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    tables = []
    for epoch in range(epochs + 1):
        tables.append(
            measure_network(net, LOADER, layers=["1", "2"], num_classes=K, measures="nc", folder=folder, epoch=epoch)
        )
        for x, y in LOADER:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return tables


def test_a_loop_makes_a_run_folder(tmp_path):
    tables = train(tmp_path, 2)
    found = load_measures(tmp_path)
    assert sorted(set(zip(found.step, found.epoch, strict=True))) == [(0, 0.0), (1, 1.0), (2, 2.0)]
    for step, table in enumerate(tables):
        expected = table[table.measure != "singular_value"].value.tolist()
        assert found[found.step == step].value.tolist() == pytest.approx(expected, rel=1e-15, nan_ok=True)
        spectra = load_spectra(tmp_path, steps=step)
        assert spectra.singular_value.tolist() == table[table.measure == "singular_value"].value.tolist()
    assert sorted(load_grams(tmp_path).step.unique()) == sorted(load_means(tmp_path).step.unique()) == [0, 1, 2]
    info = json.loads((tmp_path / "run.json").read_text())
    assert (info["status"], info["recorded_by"], info["steps"]) == ("done", "measure_network", 2)
    last = found[(found.step == 2) & (found.measure == "self_duality")].value.item()
    assert info["final"]["2.weight.self_duality"]["median"] == last
    assert figure.neural_collapse(tmp_path).axes
    assert figure.gram(tmp_path).axes
    assert figure.spectra(tmp_path).axes


def test_the_gram_matrix_is_that_of_the_features(tmp_path):
    net = network()
    measure_network(net, LOADER, layers=["1"], num_classes=K, folder=tmp_path)  # of a trained network: step 0
    means = core.ClassMoments.from_batch(net[:2](X).detach(), Y, K).means
    (gram,) = load_grams(tmp_path)["gram"]
    assert torch.as_tensor(gram) == pytest.approx((means @ means.T).numpy(), rel=1e-6)


def test_the_same_step_is_replaced_and_a_place_is_asked_for(tmp_path):
    train(tmp_path, 1)
    before = load_measures(tmp_path)
    train(tmp_path, 1)
    assert load_measures(tmp_path).value.tolist() == pytest.approx(before.value.tolist(), nan_ok=True)
    again = dict(layers=["1"], num_classes=K, folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds measurements; say where this one belongs by step= or epoch="):
        measure_network(network(), LOADER, **again)
    with pytest.raises(ValueError, match=r"epoch=0.5 is no whole number, so it cannot stand for the step"):
        measure_network(network(), LOADER, **again, epoch=0.5)
    for step in (-1, 1.5):
        with pytest.raises(ValueError, match=f"step={step} must be a whole number of at least 0"):
            measure_network(network(), LOADER, **again, step=step)
    with pytest.raises(ValueError, match=r"epoch=inf must be finite"):
        measure_network(network(), LOADER, **again, epoch=float("inf"))
    measure_network(network(), LOADER, **again, step=7, epoch=0.5)
    assert load_measures(tmp_path, steps="last").epoch.unique().tolist() == [0.5]


def test_another_network_or_another_run_is_refused(tmp_path):
    measure_network(network(), LOADER, layers=["1"], num_classes=K, folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds a run with dataset.classes=3, not 4"):
        measure_network(network(), LOADER, layers=["1"], num_classes=4, folder=tmp_path, step=1)
    with pytest.raises(ValueError, match=r"holds a run with model._target_=torch.nn.modules.container.Sequential, not"):
        measure_network(network()[0], LOADER, layers=["*"], num_classes=K, folder=tmp_path, step=1)
    with RunFolder(tmp_path), pytest.raises(ValueError, match="another process is recording a run in it"):
        measure_network(network(), LOADER, layers=["1"], num_classes=K, folder=tmp_path, step=1)
