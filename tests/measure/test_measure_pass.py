"""Measures of a whole network against a naive computation, and that evaluation leaves everything as it was."""

import math

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ncbench.measure import MeasureCollapse, first_pass, log_spaced, measure, measure_network, measure_pass
from ncbench.models.replica import DUFM
from tests.helpers.foreign_module import Plain

K = 3
LABELS = torch.arange(K).repeat(8)
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:10], LABELS[:10]), (X[10:], LABELS[10:])]


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, K))


def naive(H, y):
    """Class means, tr Sigma_W, tr Sigma_B and TCV by loops in numpy."""
    H, y = H.detach().double().numpy(), y.numpy()
    means = np.stack([H[y == c].mean(0) for c in range(K)])
    within = sum(((h - means[c]) ** 2).sum() for h, c in zip(H, y, strict=True)) / len(H)
    between = sum(((m - means.mean(0)) ** 2).sum() for m in means) / K
    return means, within, between


def test_values_against_a_naive_computation():
    net = network()
    table = measure_network(net, BATCHES, layers=["2", "4"], num_classes=K).set_index(
        ["layer", "stage", "measure", "index"]
    )
    net.eval()
    for layer, stage, H in (("2", "post", net[:3](X)), ("4", "pre", net(X))):
        means, within, between = naive(H, LABELS)
        s = np.linalg.svd(means, compute_uv=False)
        expected = {
            "tcv": within,
            "dnc1": within / between,
            "dnc2": s[0] / s[K - 1],
            "rank": (s > 1e-2 * s[0]).sum(),
            "stable_rank": (s**2).sum() / s[0] ** 2,
            "effective_rank": math.exp(-sum(p * math.log(p) for p in s / s.sum())),
        }
        for name, value in expected.items():
            assert table.loc[(layer, stage, name, 0), "value"] == pytest.approx(value, rel=1e-6), name
        for i in range(K):
            assert table.loc[(layer, stage, "singular_value", i), "value"] == pytest.approx(s[i], rel=1e-6)
    accuracy = (net(X).argmax(1) == LABELS).double().mean()
    assert table.loc[("", "", "accuracy", 0), "value"] == pytest.approx(float(accuracy))
    W = net[4].weight.detach().double()
    assert table.loc[("4", "weight", "norm", 0), "value"] == pytest.approx(float(W.norm()), rel=1e-12)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("batch if earlier is None else earlier.merge(batch)", "batch"),
        ("~class_scores.isnan().any(-1), torch.nan).sum(-1)", "~class_scores.isnan().any(-1), torch.nan).mean(-1)"),
    ],
)
def test_planted_bugs_are_seen(mutant, monkeypatch, old, new):
    monkeypatch.setattr(measure_pass, "FirstPass", mutant(first_pass, old, new).FirstPass)
    with pytest.raises(AssertionError):
        test_values_against_a_naive_computation()


def test_hand_worked_dnc1():
    # Classes {0, 2} and {10, 14} on a line: tr S_W = (1+1+4+4)/4 = 2.5, means 1 and 12, tr S_B = 5.5^2 = 30.25.
    H = torch.tensor([[0.0], [2.0], [10.0], [14.0]])
    found = measure(
        nn.Sequential(nn.Identity()), {"train": [(H, torch.tensor([0, 0, 1, 1]))]}, layers=["0"], num_classes=2
    )
    assert float(found.values["train", "0", "post", "dnc1"]) == pytest.approx(2.5 / 30.25, rel=1e-14)
    assert float(found.values["train", "0", "post", "tcv"]) == pytest.approx(2.5, rel=1e-14)
    assert float(found.values["train", "0", "post", "tcv_relative"]) == pytest.approx(2.5 / 32.75, rel=1e-14)


def test_nothing_of_training_is_touched():
    net = network()
    net[3].eval()
    modes = [m.training for m in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.get_rng_state()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, LABELS), batch_size=7)
    measure(net, {"train": loader}, layers=["2"], num_classes=K)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_diverged_replica_does_not_disturb_the_others():
    model = DUFM(depth=2, width=4, activation="relu", init_scale=1.0, num_classes=K, num_samples=6, seeds=[0, 1])
    data = {"train": [(torch.arange(6), torch.arange(K).repeat_interleave(2))]}
    clean = measure(model, data, layers=["features", "head.1"], num_classes=K)
    model.weights[0].data[1, 0, 0] = torch.nan
    found = measure(model, data, layers=["features", "head.1"], num_classes=K)
    for key, value in clean.values.items():
        assert torch.equal(found.values[key][0], value[0]) or value[0].isnan(), key
        if key[1] == "head.1":
            assert found.values[key][1].isnan(), key


def test_threads_change_no_value_and_no_order(threads):
    threads(2)
    model = DUFM(depth=3, width=5, activation="relu", init_scale=1.0, num_classes=K, num_samples=6, seeds=range(4))
    everyone = torch.arange(6), torch.arange(K).repeat_interleave(2)
    some = torch.arange(0, 6, 2), torch.arange(K)

    def measured(number):
        options = {"grams": True, "means": True, "measures": ["cdnv", "nc1"], "threads": number}
        loaders = {"train": [everyone], "test": [some]}
        return measure(model, loaders, layers=["features", "head.*"], num_classes=K, **options)

    on_one_thread, on_three = measured(1), measured(3)
    for name in ("values", "spectra", "grams", "means"):
        a, b = getattr(on_one_thread, name), getattr(on_three, name)
        assert list(a) == list(b)
        assert all(torch.equal(a[key].nan_to_num(-1), b[key].nan_to_num(-1)) for key in a)
    assert torch.get_num_threads() == 2


def broken(argument):
    raise RuntimeError("no such thing")


def test_a_failing_measure_is_nan_and_every_call_names_each_layer_once(caplog):
    loaders = {"train": BATCHES, "test": BATCHES}
    for _ in range(2):
        found = measure(network(), loaders, layers=["2", "4"], num_classes=K, moments={"broken": broken})
    assert found.values["train", "2", "post", "broken"].isnan().all()
    for at in ("2 post", "4 pre"):
        assert caplog.text.count(f"the measure broken failed and is NaN: no such thing (layer {at})") == 2


def test_a_failing_measure_of_matrices_is_one_nan_for_each_network():
    found = measure(network(), {"train": BATCHES}, layers=["4"], num_classes=K, matrices={"broken": broken})
    for key in (("train", "4", "pre", "broken"), ("", "4", "weight", "broken")):
        assert found.values[key].shape == (1,)
        assert found.values[key].isnan().all()


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (3.0, "its result is of type float and not a tensor"),
        (torch.zeros(K), r"its result has the shape (3,) and not ()"),
    ],
)
def test_a_result_that_is_not_one_number_is_nan_with_its_reason(caplog, result, reason):
    found = measure(network(), {"train": BATCHES}, layers=["2"], num_classes=K, moments={"odd": lambda m: result})
    assert found.values["train", "2", "post", "odd"].isnan().tolist() == [True]
    assert f"the measure odd failed and is NaN: {reason}" in caplog.text


def fit(callbacks):
    module = Plain(BATCHES, K)
    options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    pl.Trainer(max_epochs=3, accelerator="cpu", callbacks=callbacks, **options).fit(module)
    return module


def test_callback_on_a_foreign_module_changes_no_weight():
    callback = MeasureCollapse(["body", "fc"], BATCHES, K, epochs=[0, 1, 3])
    measured, bare = fit([callback]), fit([])
    assert all(torch.equal(a, b) for a, b in zip(measured.parameters(), bare.parameters(), strict=True))
    table = callback.table()
    assert sorted(table.epoch.unique()) == [0, 1, 3]
    assert set(table[table.measure == "dnc1"].layer) == {"body", "fc"}


def test_unknown_layer_is_refused_before_the_first_epoch():
    with pytest.raises(ValueError, match="layers=fcc: the network has no such layer; it has body"):
        fit([MeasureCollapse(["fcc"], BATCHES, K)])


@pytest.mark.parametrize(("last", "points"), [(1, 1), (1, 2), (7, 3), (20000, 60), (100, 1000)])
def test_log_spaced(last, points):
    steps = log_spaced(last, points)
    assert steps[0] == 0
    assert steps[-1] == last
    assert steps == sorted(set(steps))
    assert len(steps) <= max(points, 2)


def test_scores_that_are_no_numbers_decide_nothing():
    """argmax takes the first NaN, which would be class 0: its share is no accuracy of a network that diverged."""
    x, y = torch.eye(3).repeat(2, 1), torch.arange(3).repeat(2)
    net = nn.Linear(3, 3, bias=False)
    for value, expected in ((torch.eye(3), 1.0), (torch.full((3, 3), torch.nan), torch.nan)):
        net.weight.data = value
        found = measure(nn.Sequential(net), {"train": [(x, y)]}, layers=["0"], num_classes=3)
        assert found.values["train", "", "", "accuracy"].tolist() == pytest.approx([expected], nan_ok=True)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))  # finite features, and one class without a score
    net[1].weight.data[2] = torch.nan
    found = measure(net, {"train": [(x, y)]}, layers=["0"], num_classes=3, measures="nc4")
    for key in (("train", "", "", "accuracy"), ("train", "0", "pre", "ncc_mismatch")):
        assert found.values[key].isnan().all()


def centred_norm(M):
    """A measure that works in place."""
    M -= M.mean(-2, keepdim=True)
    return M.square().sum((-2, -1)).sqrt()


def moved(moments):
    """Another."""
    moments.offset.sub_(1.0)
    return moments.offset.sum((-2, -1))


@pytest.mark.parametrize("kind", ["matrices", "moments"])
def test_a_measure_that_works_in_place_changes_neither_network_nor_other_measures(kind):
    net = network().double()
    before = [p.detach().clone() for p in net.parameters()]
    batches = [(x.double(), y) for x, y in BATCHES]
    options = {"layers": ["2", "4"], "num_classes": K, "measures": ["cdnv", "ncc_accuracy"]}
    own = {"own": centred_norm if kind == "matrices" else moved}
    with_it = measure_network(net, batches, **options, **{kind: own})
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    plain = measure_network(net, batches, **options)
    rest = with_it[with_it["measure"] != "own"].reset_index(drop=True)
    assert len(rest) == len(plain) < len(with_it)
    assert rest.equals(plain)
    W = net[4].weight.detach().numpy()
    if kind == "matrices":
        of_weight = with_it[(with_it["measure"] == "own") & (with_it["layer"] == "4") & (with_it["stage"] == "weight")]
        assert of_weight["value"].item() == pytest.approx(np.linalg.norm(W - W.mean(0)))


def test_complex_weights_and_features_are_refused():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.turn = nn.Linear(5, 4, dtype=torch.cfloat)
            self.fc = nn.Linear(4, K)

        def forward(self, x):
            return self.fc(self.turn(x.to(torch.cfloat)).abs())

    net = Turned()
    with pytest.raises(ValueError, match="^the weight of layer turn is complex, and the measures are of real numbers"):
        measure_network(net, BATCHES, layers=["turn"], num_classes=K)
    phase = nn.Sequential(nn.Linear(5, 4), nn.Identity())
    phase[1].forward = lambda x: x.to(torch.cfloat)
    with pytest.raises(
        ValueError, match=r"^the output of layer 0.1 \(post\) is complex, .* give a reduction that makes"
    ):
        measure_network(nn.Sequential(phase, Modulus(), nn.Linear(4, K)), BATCHES, layers=["0.1"], num_classes=K)
    assert "fc.input" in set(measure_network(net, BATCHES, layers=["fc", "fc.input"], num_classes=K)["layer"])


class Modulus(nn.Module):
    def forward(self, x):
        return x.abs()


def test_empty_containers_are_layers_that_are_named_and_not_called():
    net = nn.Sequential(nn.Sequential(), nn.Linear(5, K))
    found = measure_network(net, BATCHES, layers=["*"], num_classes=K)
    assert {"0", "1"} == set(found["layer"]) - {""}
