"""The input of a module as a layer, and NC1 to NC4 at a classifier."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ncbench import core
from ncbench.measure import LayerHooks, measure_network
from ncbench.models.heads import mlp_head
from tests.helpers.whole_networks import Functional

K = 3


@pytest.fixture
def trained():
    torch.manual_seed(0)
    network = Functional(1, K, width=5)
    X, Y = torch.randn(90, 1, 4, 4), torch.arange(90) % K
    network(X)  # batch normalisation has statistics
    return network.eval(), X, Y, X + 0.3 * torch.randn_like(X)


def collected(model, layers, *inputs, **options):
    found = {}
    with LayerHooks(model, layers, **options).open(lambda layer, stage, x: found.update({(layer, stage): x.clone()})):
        model(*inputs)
    return found


def test_the_input_of_a_module_is_what_it_is_called_with(trained):
    network, X, _, _ = trained
    found = collected(network, ["fc.input", "fc"], X)
    assert list(found) == [("fc.input", "post"), ("fc", "pre")]
    expected = F.relu(network.norm(network.conv(X))).mean((2, 3))
    torch.testing.assert_close(found["fc.input", "post"], expected)
    assert (found["fc.input", "post"] >= 0).all()


def test_inputs_by_glob_and_of_blocks_and_a_module_of_that_name():
    head = mlp_head(4, 4, K, depth=3)
    x = torch.randn(7, 4)
    found = collected(head, ["?.input"], x)
    assert [layer for layer, _ in found] == ["1.input", "2.input", "3.input"]
    assert torch.equal(found["1.input", "post"], x)
    assert torch.equal(found["2.input", "post"], head[0](x))
    named = nn.Sequential()
    named.add_module("fc", nn.Sequential())
    named.fc.add_module("input", nn.Linear(4, 2))
    assert list(collected(named, ["fc.input"], x)) == [("fc.input", "pre")]  # the module of that name
    with pytest.raises(ValueError, match=r"layers=gc.input: the network has no such layer; it has fc, fc.input"):
        LayerHooks(named, ["gc.input"])


def test_calls_keywords_and_reductions():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.conv = nn.Conv2d(2, 3, 1)

        def forward(self, x, image):
            self.conv(image)
            return self.fc(input=self.fc(x))

    network, x, image = Twice(), torch.randn(5, 4), torch.randn(5, 2, 3, 3)
    found = collected(network, ["fc.input", "conv.input"], x, image, reduction="mean")
    assert torch.equal(found["fc.input", "post"], x)
    assert torch.equal(found["fc.input@2", "post"], network.fc(x))
    torch.testing.assert_close(found["conv.input", "post"], image.mean((2, 3)))  # 2 channels, not 3
    tokens = collected(nn.Sequential(nn.Linear(6, 4)), ["0.input"], torch.randn(5, 4, 6), reduction="mean")
    assert tokens["0.input", "post"].shape == (5, 6)  # 4 tokens as many as outputs: the input's width decides


def test_nc_are_the_functions_of_core_at_the_classifiers_input(trained):
    network, X, Y, other = trained
    splits = {"train": [(X[:50], Y[:50]), (X[50:], Y[50:])], "test": [(other, (Y + 1) % K)]}
    found = measure_network(network, splits, layers=["fc"], num_classes=K, measures="nc")
    value = found[found["index"] == 0].set_index(["split", "layer", "stage", "measure"]).value
    H, W, b = network.features(X), network.fc.weight.detach(), network.fc.bias
    moments = core.ClassMoments.from_batch(H, Y, K, scatter="full")
    M, at = moments.means, ("train", "fc.input", "post")
    assert value[*at, "nc1"] == pytest.approx(float(core.nc1(moments)[0]), rel=1e-9)
    assert value[*at, "equinorm"] == pytest.approx(float(core.equinorm(M)), rel=1e-9)
    assert value[*at, "equiangularity"] == pytest.approx(float(core.equiangularity(M)), rel=1e-9)
    assert value["train", "fc", "weight", "self_duality"] == pytest.approx(float(core.self_duality_distance(W, M)))
    assert value[*at, "ncc_mismatch"] == pytest.approx(1 - float(core.ncc_agreement(H, M, W, b)))
    # The rows of the classifier are not centred.
    norms = W.double().norm(dim=1)
    assert value["", "fc", "weight", "equinorm"] == pytest.approx(float(norms.std() / norms.mean()), rel=1e-9)
    cosines = [float(F.cosine_similarity(W[i], W[j], dim=0)) for i, j in ((0, 1), (0, 2), (1, 2))]
    expected = sum(abs(cosine + 1 / 2) for cosine in cosines) / 3
    assert value["", "fc", "weight", "equiangularity"] == pytest.approx(expected, rel=1e-6)
    # NC4 of the test split: its samples, the class means of the training split; its own are those of other labels.
    of_test = 1 - float(core.ncc_agreement(network.features(other), M, W, b))
    assert value["test", "fc.input", "post", "ncc_mismatch"] == pytest.approx(of_test)
    own = core.ClassMoments.from_batch(network.features(other), (Y + 1) % K, K).means
    assert of_test != pytest.approx(1 - float(core.ncc_agreement(network.features(other), own, W, b)))
    assert ("test", "fc", "weight", "self_duality") not in value.index


def test_a_simplex_has_no_nc_left():
    """Features at the vertices of a simplex, the classifier along them: all four are 0."""
    simplex = torch.eye(K) - 1 / K
    network = nn.Sequential(nn.Flatten(), nn.Linear(K, K, bias=False))
    network[1].weight.data = 3 * simplex
    Y = torch.arange(12) % K
    found = measure_network(network, [(simplex[Y], Y)], layers=["1"], num_classes=K, measures="nc")
    value = found[found["index"] == 0].set_index(["layer", "stage", "measure"]).value
    for measure in ("nc1", "equinorm", "equiangularity", "ncc_mismatch"):
        assert value["1.input", "post", measure] == pytest.approx(0, abs=1e-6)
    for measure in ("equinorm", "equiangularity", "self_duality"):
        assert value["1", "weight", measure] == pytest.approx(0, abs=1e-6)
