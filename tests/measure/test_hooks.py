"""Which tensors a layer's name stands for."""

import pytest
import torch
from torch import nn

from ncbench.core import ClassMoments, scatter_ratio
from ncbench.measure import LayerHooks, list_layers, measure_network
from ncbench.measure import hooks as hooks
from ncbench.measure.activation_watch import warn_of_activations
from ncbench.measure.notices import Notices
from ncbench.models.heads import mlp_head


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
        self.head = mlp_head(4, 4, 2, depth=2)

    def forward(self, x):
        return self.head(self.features(x))


def collected(model, layers, inputs, **options):
    found = {}
    with LayerHooks(model, layers, **options).open(lambda layer, stage, x: found.update({(layer, stage): x.clone()})):
        model(inputs)
    return found


def test_stages_of_features_head_and_logits():
    net, x = Net(), torch.randn(7, 3)
    found = collected(net, ["features", "head.1", "head.2"], x)
    H = net.features(x)
    Z = H @ net.head[0].linear.weight.T
    assert list(found) == [("features", "post"), ("head.1", "pre"), ("head.1", "post"), ("head.2", "pre")]
    assert torch.equal(found["features", "post"], H)
    assert torch.allclose(found["head.1", "pre"], Z)
    assert torch.equal(found["head.1", "post"], found["head.1", "pre"].relu())
    assert torch.equal(found["head.2", "pre"], net(x))


def test_a_pre_activation_is_seen_before_an_in_place_relu_changes_it():
    net = nn.Sequential()
    net.add_module("layer", nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)))
    found = collected(net, ["layer"], torch.randn(50, 3))
    assert (found["layer", "pre"] < 0).any()
    assert (found["layer", "post"] >= 0).all()


def test_hooks_are_gone_afterwards():
    net = Net()
    collected(net, ["features", "head.*"], torch.randn(2, 3))
    assert not any(m._forward_hooks for m in net.modules())


def test_reductions_of_convolutions_and_tokens():
    conv = nn.Sequential(nn.Conv2d(1, 2, 1))
    x = torch.randn(3, 1, 4, 4)
    assert torch.equal(collected(conv, ["0"], x)["0", "pre"], conv(x).flatten(1))
    assert torch.allclose(collected(conv, ["0"], x, reduction="mean")["0", "pre"], conv(x).mean((2, 3)))
    tokens = nn.Sequential(nn.Linear(2, 2))
    t = torch.randn(3, 5, 2)
    assert torch.equal(collected(tokens, ["0"], t, reduction="cls")["0", "pre"], tokens(t)[:, 0])


def test_names_and_globs():
    net = Net()
    assert "head.1.linear" in list_layers(net)
    assert [layer.name for layer in LayerHooks(net, ["head.?"]).layers] == ["head.1", "head.2"]
    with pytest.raises(ValueError, match=r"^layers=head.9: the network has no such layer; it has features"):
        LayerHooks(net, ["head.9"])
    with pytest.raises(ValueError, match="reduction=max must be one of flatten, mean, cls"):
        LayerHooks(net, ["head.1"], reduction="max")


class Functional(nn.Module):
    """Activations that are functions, one linear map called twice."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.fc2 = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x):
        x = nn.functional.relu(self.fc1(x))
        return self.block(self.block(self.fc2(x)))


SAID = "layer fc1: relu is applied to its output from outside, so only stage pre is measured"


def test_a_functional_activation_leaves_stage_pre_and_is_said_once(caplog):
    net, x, notices = Functional(), torch.randn(7, 3), Notices()
    found = collected(net, ["fc1", "fc2"], x)
    assert list(found) == [("fc1", "pre"), ("fc2", "pre")]
    assert torch.equal(found["fc1", "pre"], net.fc1(x))
    for _ in range(2):
        warn_of_activations(LayerHooks(net, ["fc1", "fc2"]), x, notices)
    assert caplog.text.count(SAID) == 1
    assert "fc2" not in caplog.text


class Graph:
    """A batch that the forward pass changes, as networks on graphs do."""

    def __init__(self, x):
        self.x = x


class OnGraphs(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.fc = nn.Embedding(5, 4), nn.Linear(4, 2)

    def forward(self, graph):
        graph.x = self.emb(graph.x)
        return self.fc(graph.x)


def test_a_network_that_changes_its_inputs_is_measured_and_not_looked_at():
    ids, y = torch.arange(10) % 5, torch.arange(10) % 2
    found = measure_network(
        OnGraphs(), [(ids, y)], layers=["fc"], num_classes=2, unpack=lambda batch: (Graph(batch[0]), batch[1])
    )
    assert found[found.stage == "pre"].value.notna().any()


class Text(nn.Module):
    """Padded sequences, of which torch's fast path of evaluation mode makes nested tensors with zeros behind them."""

    def __init__(self):
        super().__init__()
        self.emb, self.fc = nn.Embedding(20, 16, padding_idx=0), nn.Linear(16, 3)
        self.enc = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def features(self, ids):
        return self.enc(self.emb(ids), src_key_padding_mask=ids == 0).mean(1)

    def forward(self, ids):
        return self.fc(self.features(ids))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_looking_for_activations_leaves_the_measured_pass_as_it_is():
    torch.manual_seed(0)
    net, y, ids = Text().eval(), torch.arange(24) % 3, torch.randint(1, 20, (24, 7))
    ids[y == 1, 4:] = 0
    with torch.no_grad():
        expected = scatter_ratio(ClassMoments.from_batch(net.features(ids), y, 3)).item()
    for size in (24, 8):
        batches = list(zip(ids.split(size), y.split(size), strict=True))
        found = measure_network(net, batches, layers=["fc.input", "fc"], num_classes=3)
        (value,) = found[(found.layer == "fc.input") & (found.measure == "dnc1")].value
        assert value == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"the output of layer enc.layers.0 \(post\) is a nested tensor"):
        measure_network(net, [(ids, y)], layers=["enc.layers.0"], num_classes=3)


class Block(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear, self.act = linear, nn.ReLU()

    def forward(self, x):
        return self.act(self.linear(x))


def test_a_module_that_two_layers_share_is_measured_in_the_call_of_each():
    shared, x = nn.Linear(5, 5), torch.randn(7, 5)
    net = nn.Sequential(Block(shared), Block(shared), nn.Linear(5, 2))
    found = collected(net, ["0", "1"], x)
    first = shared(x)
    second = shared(first.relu())
    expected = {("0", "pre"): first, ("0", "post"): first.relu(), ("1", "pre"): second, ("1", "post"): second.relu()}
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], z) for key, z in expected.items())
    # A container that is never called itself: what is inside it is, under another name too.
    alias = nn.Module()
    alias.head = nn.ModuleDict({"out": shared})
    alias.out, alias.forward = shared, lambda x: alias.out(x)
    assert list(collected(alias, ["head"], x)) == [("head", "pre")]


def test_a_layer_called_twice_has_a_name_for_each_call():
    net, x = Functional(), torch.randn(7, 3)
    names, values = [], {}
    with LayerHooks(net, ["block"]).open(
        lambda layer, stage, x: (names.append((layer, stage)), values.update({layer: x}))
    ):
        net(x)
        net(x)
    once = [("block", "pre"), ("block", "post"), ("block@2", "pre"), ("block@2", "post")]
    assert names == [*once, *once]  # counted anew in every forward pass
    assert torch.equal(values["block@2"], net.block(values["block"]))


def test_the_first_tensor_of_a_nested_output():
    found = collected(nn.Sequential(nn.LSTM(3, 4, batch_first=True)), ["0"], torch.randn(2, 5, 3), reduction="mean")
    assert found["0", "post"].shape == (2, 4)


def test_hooks_are_called_where_torch_has_a_fused_fast_path():
    net = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    with torch.no_grad():
        found = collected(net, ["linear1", "norm2"], torch.randn(2, 5, 4), reduction="mean")
    assert found["linear1", "pre"].shape == (2, 8)
    assert found["norm2", "post"].shape == (2, 4)


def test_an_output_without_a_tensor_is_refused():
    class Nothing(nn.Module):
        def forward(self, x):
            return None

    with pytest.raises(ValueError, match="the output of layer 0 .post. is of type NoneType that holds no tensor"):
        collected(nn.Sequential(Nothing()), ["0"], torch.randn(2, 3))


def test_a_planted_bug_that_counts_calls_over_all_batches_is_seen(mutant):
    bug, net, names = mutant(hooks, "lambda *_: self._calls.clear()", "lambda *_: None"), Functional(), []
    with bug.LayerHooks(net, ["block"]).open(lambda layer, stage, x: names.append(layer)):
        net(torch.randn(7, 3))
        net(torch.randn(7, 3))
    assert "block@4" in names
