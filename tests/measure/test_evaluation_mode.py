"""The state of a network while it is measured: statistics of batch normalisation, generators, compiled code."""

# ruff: noqa: NPY002 - the global generator is what must stay as it was
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from ncbench.measure import evaluation_mode as modes
from ncbench.measure import measure_network

K = 3
Y = torch.arange(K).repeat(8)
X = 2 + 3 * torch.randn(24, 5, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, K))


def tcv(model, loader, **options):
    found = measure_network(model, loader, layers=["1"], num_classes=K, **options)
    return found[(found.measure == "tcv")].value.item()


def naive_tcv(H):
    H = H.detach().double()
    return sum((H[c == Y] - H[c == Y].mean(0)).square().sum().item() for c in range(K)) / len(H)


def test_reestimated_statistics_of_one_batch_are_those_of_the_data():
    net = network()
    z = net[0](X).detach()
    expected = (z - z.mean(0)) / (z.var(0, unbiased=True) + net[1].eps).sqrt()
    assert tcv(net, [(X, Y)], batch_norm="reestimate") == pytest.approx(naive_tcv(expected), rel=1e-5)
    assert tcv(net, [(X, Y)]) == pytest.approx(naive_tcv(z / (1 + net[1].eps) ** 0.5), rel=1e-5)


def test_batches_are_weighted_by_their_samples_and_single_samples_left_out():
    net = network()
    z = net[0](X).detach()
    parts = [z[:20], z[20:23]]
    mean = (20 * parts[0].mean(0) + 3 * parts[1].mean(0)) / 23
    var = (20 * parts[0].var(0) + 3 * parts[1].var(0)) / 23
    expected = (z - mean) / (var + net[1].eps).sqrt()
    loader = [(X[:20], Y[:20]), (X[20:23], Y[20:23]), (X[23:], Y[23:])]
    assert tcv(net, loader, batch_norm="reestimate") == pytest.approx(naive_tcv(expected), rel=1e-5)


def test_everything_is_restored_also_after_an_error():
    net = network()
    net[1].momentum = 0.3
    net[3].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())

    def loader(fail):
        for _ in range(2):
            yield X + torch.randn(1) + random.random() + np.random.rand(), Y
        if fail:
            raise RuntimeError("planted")

    class Repeated:
        fail = False

        def __iter__(self):
            return loader(self.fail)

    data = Repeated()
    tcv(net, data, batch_norm="reestimate")
    data.fail = True
    with pytest.raises(RuntimeError, match="planted"):
        tcv(net, data, batch_norm="reestimate")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net[1].momentum == 0.3
    assert [m.training for m in net] == [True, True, True, False]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_loader_that_can_be_read_once_is_refused_where_two_passes_are_needed():
    with pytest.raises(
        ValueError, match="batch_norm=reestimate needs another pass over the data, but the loader of train"
    ):
        tcv(network(), iter([(X, Y)]), batch_norm="reestimate")
    with pytest.raises(ValueError, match="measures=nc1 needs another pass over the data"):
        tcv(network(), iter([(X, Y)]), measures=["nc1"])
    assert tcv(network(), iter([(X, Y)])) > 0
    with pytest.raises(ValueError, match="batch_norm=train must be eval or reestimate"):
        tcv(network(), [(X, Y)], batch_norm="train")


def test_measuring_inside_inference_mode_sees_an_in_place_activation():
    net = nn.Sequential(nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True)))
    with torch.inference_mode():
        found = measure_network(net, [(X, Y)], layers=["0"], num_classes=K)
    assert set(found.stage) == {"pre", "post", "weight"}


def test_dropout_and_gradients_are_off():
    net = nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.9))
    found = measure_network(net, [(X, Y)], layers=["1"], num_classes=K)
    assert found[found.measure == "tcv"].value.item() == pytest.approx(naive_tcv(net[0](X)), rel=1e-5)
    assert net[0].weight.grad is None


def test_a_planted_bug_that_weights_all_batches_alike_is_seen(mutant):
    bug = mutant(modes, "len(labels) / seen", "1 / (seen / len(labels) + 1)")
    net = network()
    from ncbench.measure.distributed import ProcessGroup

    batches = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    means = []
    for module in (modes, bug):
        with module.evaluation(net), module.reestimated(net, iter(batches), ProcessGroup(distributed=False)):
            means.append(net[1].running_mean.clone())
    expected = net[0](X).detach().mean(0)
    assert torch.allclose(means[0], expected, atol=1e-5)
    assert not torch.allclose(means[1], expected, atol=1e-5)


class Adapter(nn.Linear):
    """A low-rank adapter whose `train` merges it into its weight for evaluation, and takes it out for training."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.merged = False
        self.A, self.B = nn.Parameter(torch.ones(1, inputs)), nn.Parameter(torch.full((outputs, 1), 0.5))

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (-1 if mode else 1) * self.B @ self.A
            self.merged = not mode
        return self

    def forward(self, x):
        z = nn.functional.linear(x, self.weight, self.bias)
        return z if self.merged else z + x @ self.A.T @ self.B.T


@pytest.mark.parametrize("training", [True, False])
def test_what_a_module_does_in_its_own_train_is_undone(training):
    torch.manual_seed(0)
    net = nn.Sequential(Adapter(5, 6), nn.ReLU(), nn.Linear(6, K))
    nn.init.normal_(net[0].A)
    net[0].train(training)
    weight, outputs = net[0].weight.detach().clone(), net(X)
    for _ in range(3):
        tcv(net, [(X, Y)])
    assert (net.training, net[0].training, net[0].merged) == (True, training, not training)
    assert torch.equal(net[0].weight, weight)  # merged and unmerged it would be so but for rounding
    assert torch.equal(net(X), outputs)


def test_a_method_train_that_is_no_switch_is_not_called():
    class Trains(nn.Sequential):
        def train(self, loader):
            raise AssertionError("called")

        def eval(self):
            return nn.Module.train(self, False)

    class Fails(nn.Linear):
        def train(self, mode=True):
            if mode:
                raise RuntimeError("no way back")
            return super().train(mode)

    state = random.getstate()
    trains, fails = Trains(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, K)), nn.Sequential(nn.ReLU(), Fails(5, K))
    for net in (trains, fails):
        assert tcv(net, [(X, Y)]) > 0
        assert (net.training, random.getstate()) == (True, state)


def test_a_generator_that_loaders_share_is_as_it_was():
    drawn = torch.Generator().manual_seed(0)
    data = TensorDataset(X, Y)
    batches = BatchSampler(RandomSampler(data, generator=drawn), 5, drop_last=False)
    before = drawn.get_state()
    for loader in (DataLoader(data, 5, shuffle=True, generator=drawn), DataLoader(data, batch_sampler=batches)):
        tcv(network(), loader)
        assert torch.equal(drawn.get_state(), before)
        list(loader)
        assert not torch.equal(drawn.get_state(), before)
        drawn.set_state(before)


def test_looking_at_a_parametrised_weight_changes_nothing():
    """In training mode every reading of a spectrally normalised weight is a step of its power iteration."""
    net = nn.Sequential(spectral_norm(nn.Linear(5, 6)), nn.ReLU(), spectral_norm(nn.Linear(6, K)))
    _u = net[0].parametrizations.weight[0]._u
    first, _ = _u.clone(), net[0].weight
    assert not torch.equal(_u, first)
    before = {name: x.clone() for name, x in net.state_dict().items()}
    tcv(net, [(X, Y)], measures="nc")
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())


@pytest.mark.parametrize(
    "reparametrised",
    [nn.utils.weight_norm, nn.utils.spectral_norm, lambda m: prune.l1_unstructured(m, "weight", amount=0.3)],
    ids=["weight_norm", "spectral_norm", "prune"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_that_the_forward_pass_makes_is_the_present_one(reparametrised):
    """Hooks before the forward pass set it: until then it is that of the last one."""
    net = network()
    reparametrised(net[3])
    net(X)
    with torch.no_grad():
        for x in net[3].parameters():
            x.mul_(torch.linspace(1, 2, x.numel()).reshape(x.shape))
    found = measure_network(net, [(X, Y)], layers=["3"], num_classes=K)
    net.eval()(X)
    expected = net[3].weight.detach().double().norm().item()
    (norm,) = found[(found.stage == "weight") & (found.measure == "norm")].value
    assert norm == pytest.approx(expected, rel=1e-6)


def test_batch_normalisation_without_running_statistics_is_said(caplog):
    net = network()
    tcv(net, [(X, Y)])
    assert "running statistics" not in caplog.text
    net[1] = nn.BatchNorm1d(6, track_running_stats=False)
    tcv(net, [(X, Y)])
    assert "1 keeps no running statistics, so in evaluation too it normalises by those of each batch" in caplog.text
