"""What grows as the square and the cube of the number of classes is left out above a bound, and said."""

import pytest
import torch
from torch import nn

from ncbench.measure import MeasureCollapse, measure, spectra
from ncbench.measure.geometries import named_geometries

K = 8
X, Y = torch.randn(3 * K, 5, generator=torch.Generator().manual_seed(0)), torch.arange(K).repeat(3)


@pytest.fixture
def found(monkeypatch, caplog):
    monkeypatch.setattr(spectra, "MOST_CLASSES", 6)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, K))
    loaders = {"train": [(X, Y)], "test": [(X, Y)]}
    options = {"layers": ["1", "2"], "num_classes": K, "grams": True, "means": True}
    return measure(net, loaders, matrices={"norm_of": lambda M: M.norm(dim=(-2, -1))}, **options), caplog.text


def test_spectra_of_logits_and_gram_matrices_are_left_out_and_said_once(found):
    measurement, log = found
    assert set(measurement.spectra) == {("1", "post"), ("2", "weight")}
    assert measurement.grams == measurement.means == {}
    for name in ("dnc2", "rank", "stable_rank", "effective_rank"):
        assert measurement.values["train", "2", "pre", name].isnan().all()
        assert name == "dnc2" or measurement.values["train", "1", "post", name].isfinite().all()
    for name in ("tcv", "dnc1", "norm_of"):  # the second is the user's own
        assert measurement.values["train", "2", "pre", name].isfinite().all()
    assert log.count("layer 2 (pre): its 8 x 8 class means have more than 6 singular values, which are left out") == 1
    assert log.count("Gram matrices and class means of 8 classes are not kept, only of up to 6") == 1
    assert "layer 1" not in log


def test_no_geometry_is_looked_for_among_so_many(found):
    assert named_geometries(found[0]) is None


def test_singular_values_of_a_wide_weight_are_measured_and_said(monkeypatch, caplog):
    monkeypatch.setattr(spectra, "MOST_CLASSES", 3)
    net = nn.Sequential(nn.Linear(5, 4))
    measurement = measure(net, {"train": [(X, Y % 2)]}, layers=["0"], num_classes=2)
    assert measurement.values["", "0", "weight", "stable_rank"].isfinite().all()
    assert "layer 0: the singular values of its 4 x 5 weight may take minutes at every measurement" in caplog.text


def test_a_callback_for_a_million_classes_is_made_at_once():
    MeasureCollapse(["0"], [], 10**6)
    with pytest.raises(ValueError, match="moments=wrong must be a function of ClassMoments"):
        MeasureCollapse(["0"], [], 10**6, moments={"wrong": lambda moments: "text"})
