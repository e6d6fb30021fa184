"""Classes without samples: NaN with the reason in the log, or left out, as if the others were all there are."""

import pytest
import torch
from torch import nn

from ncbench.core import ClassMoments
from ncbench.measure import measure_network
from ncbench.measure.missing_classes import of_classes

K = 4
Y = torch.arange(24) % 3 + 1  # class 0 has no sample
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)) + torch.eye(5)[Y]
OPTIONS = {"layers": ["1", "2.input", "2"], "measures": ["nc", "cdnv", "ncc_accuracy", "etf_error"]}


def network(rows=slice(None)):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, K)).double()
    with torch.no_grad():
        net[2].bias[0] = -1e3  # never decides for the class that is not there
    last = nn.Linear(6, len(net[2].weight[rows])).double()
    last.load_state_dict({"weight": net[2].weight.data[rows], "bias": net[2].bias.data[rows]})
    return nn.Sequential(net[0], net[1], last)


def values(net, labels, num_classes, **options):
    loaders = {"train": [(X[:10], labels[:10]), (X[10:], labels[10:])], "test": [(X[:9], labels[:9])]}
    found = measure_network(net, loaders, num_classes=num_classes, **OPTIONS, **options)
    return {(*row[1:5], row[6]): row[5] for row in found.itertuples(index=False, name=None)}


def test_left_out_the_others_are_measured_as_if_they_were_all():
    found = values(network(), Y, K, missing_classes="skip")
    expected = values(network(slice(1, None)), Y - 1, 3)
    of_rows = ("self_duality", "equinorm", "equiangularity")  # the others are of the whole matrix
    kept = {key: x for key, x in found.items() if key[1] != "2" or (key[2] == "weight" and key[3] in of_rows)}
    assert ("", "2", "weight", "self_duality", 0) not in {key for key, x in found.items() if x != x}
    assert len(kept) > 40
    for key, value in kept.items():
        assert value == pytest.approx(expected[key], rel=1e-9, nan_ok=True), key


def test_by_default_they_are_nan_and_said(caplog):
    found = values(network(), Y, K)
    assert torch.tensor([x for key, x in found.items() if key[3] in ("dnc1", "rank", "cdnv") and key[0]]).isnan().all()
    assert "every class needs a sample; empty classes: [0] of num_classes=4" in caplog.text
    with pytest.raises(ValueError, match="missing_classes=drop must be nan or skip"):
        values(network(), Y, K, missing_classes="drop")


def test_a_label_out_of_range_stays_refused():
    with pytest.raises(ValueError, match=r"num_classes=3 needs labels in \[0, 2\]"):
        values(network(), Y, 3, missing_classes="skip")


def test_moments_of_some_classes_are_those_of_their_samples():
    moments = ClassMoments.from_batch(X, Y, K, scatter="full")
    found = of_classes(moments, torch.tensor([1, 3]))
    expected = ClassMoments.from_batch(X[Y != 2], (Y[Y != 2] - 1) // 2, 2)
    assert torch.allclose(found.means, expected.means)
    assert torch.allclose(found.within_trace, expected.within_trace)
    assert found.label_range.tolist() == [0, 1]
    assert of_classes(ClassMoments.from_batch(X, Y + 1, K), torch.tensor([1])).label_range.tolist() == [0, 4]
