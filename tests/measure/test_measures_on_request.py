"""Measures beyond the default ones: by name, and by functions of `ncbench.core`."""

import pytest
import torch
from torch import nn

from ncbench import core
from ncbench.measure import measure_network

K = 3
H = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 2.0], [-2.0, -2.0], [-2.0, -2.0]])
Y = torch.arange(K).repeat_interleave(2)
DEFAULT = {"tcv", "tcv_relative", "dnc1", "dnc2", "rank", "stable_rank", "effective_rank", "singular_value"}


def measured(**options):
    found = measure_network(nn.Sequential(nn.Identity()), [(H, Y)], layers=["0"], num_classes=K, **options)
    return found[found["index"] == 0].set_index("measure").value


def test_the_default_names_stay_as_they_are():
    assert set(measured().index) == DEFAULT
    net = nn.Sequential(nn.Linear(2, K))
    weight = measure_network(net, [(H, Y)], layers=["0"], num_classes=K)
    names = set(weight[weight.stage == "weight"].measure)
    assert names == {"norm", "tail", "rank", "stable_rank", "effective_rank", "singular_value"}


def test_by_name_worked_by_hand():
    # Means (2, 0), (0, 2), (-2, -2) sum to 0; v = (1, 0, 0); squared distances 8, 20, 20.
    found = measured(
        measures=["cdnv", "equinorm", "equiangularity", "etf_error", "orthogonal_frame_error", "tcv_floor"]
    )
    assert found["cdnv"] == pytest.approx((1 / 16 + 1 / 40 + 0) / 3, rel=1e-12)
    # Norms 2, 2, sqrt 8: the mean 2.27614..., their unbiased standard deviation 0.47829...
    norms = torch.tensor([2.0, 2.0, 8**0.5], dtype=torch.float64)
    assert found["equinorm"] == pytest.approx((norms.std() / norms.mean()).item(), rel=1e-12)
    # Cosines 0, -1/sqrt 2, -1/sqrt 2 against -1/2.
    assert found["equiangularity"] == pytest.approx((0.5 + 2 * (0.5**0.5 - 0.5)) / 3, rel=1e-12)
    # G = [[4, 0, -4], [0, 4, -4], [-4, -4, 8]], ||G||_F = sqrt 160; <G, target> = (16 + 8) / 3 / sqrt 2 + ...
    G = torch.tensor([[4.0, 0, -4], [0, 4, -4], [-4, -4, 8]], dtype=torch.float64)
    etf = (torch.eye(3, dtype=torch.float64) - 1 / 3) / 2**0.5
    assert found["etf_error"] == pytest.approx((G / 160**0.5 - etf).norm().item(), rel=1e-12)
    frame = torch.eye(3, dtype=torch.float64) / 3**0.5
    assert found["orthogonal_frame_error"] == pytest.approx((G / 160**0.5 - frame).norm().item(), rel=1e-12)
    assert found["tcv_floor"] == pytest.approx(2.0**-48 * (4 + 4 + 8) / 3, rel=1e-12)  # float32: u = 2^-24


def test_functions_of_core_as_further_measures():
    found = measured(
        moments={"cdnv_again": core.cdnv, "worst": lambda m: core.equiangularity(m.means, reduction="max")},
        matrices={"soft_rank": core.soft_rank, "nuclear": lambda M: core.schatten(M, 1)},
    )
    moments = core.ClassMoments.from_batch(H, Y, K)
    assert found["cdnv_again"] == pytest.approx(core.cdnv(moments).item(), rel=1e-14)
    assert found["worst"] == pytest.approx(0.5, rel=1e-12)
    assert found["soft_rank"] == pytest.approx(core.soft_rank(moments.means).item(), rel=1e-14)
    assert found["nuclear"] == pytest.approx(torch.linalg.svdvals(moments.means).sum().item(), rel=1e-12)


def test_what_needs_the_full_scatter_says_so_and_is_nan(caplog):
    found = measured(moments={"nc1_by_scatter": lambda m: core.nc1(m)[0]})
    assert found.isna()["nc1_by_scatter"]
    assert "the measure nc1_by_scatter failed and is NaN: the full scatter is needed" in caplog.text


def test_an_unknown_name_is_refused():
    with pytest.raises(
        ValueError,
        match="measures=nc7 must be among nc, nc1, .*nc2, nc3, nc4, .*cdnv.*; give functions of .* as moments or",
    ):
        measured(measures=["cdnv", "nc7"])


def test_an_empty_class_is_said_and_is_nan_where_it_is_undefined(caplog):
    found = measure_network(nn.Sequential(nn.Identity()), [(H, Y)], layers=["0"], num_classes=K + 1)
    found = found[found["index"] == 0].set_index("measure").value
    assert "every class needs a sample; empty classes: [3] of num_classes=4" in caplog.text
    assert found["tcv"] == pytest.approx(2 / 6)  # a partition into at most K sets
    assert found["tcv_relative"] == pytest.approx(2 / 6 / H.double().var(0, correction=0).sum().item())
    assert found.drop(["tcv", "tcv_relative"]).isna().all()


def test_one_of_the_four_by_its_name():
    # Class means as above, the classifier its own rows: NC2 of both, NC3 between them, NC4 of every sample.
    net = nn.Sequential(nn.Linear(2, K, bias=False))
    net[0].weight.data = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]])

    def asked(measures):
        found = measure_network(net, [(H, Y)], layers=["0"], num_classes=K, measures=measures)
        return set(found.measure) - DEFAULT - {"norm", "tail", "accuracy"}

    assert asked("nc1") == {"nc1", "nc1_rank"}
    assert asked("nc2") == {"equinorm", "equiangularity"}
    assert asked(["nc3"]) == {"self_duality"}
    assert asked("nc4") == {"ncc_mismatch"}
    assert asked(["nc1", "nc2", "nc3", "nc4"]) == asked("nc")
    found = measure_network(net, [(H, Y)], layers=["0"], num_classes=K, measures="nc3")
    assert found[found.measure == "self_duality"].value.item() == pytest.approx(0, abs=1e-7)
    with pytest.raises(ValueError, match="measures=dnc1 is always measured and need not be asked for"):
        asked("dnc1")
