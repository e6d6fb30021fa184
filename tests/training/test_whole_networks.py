"""The objectives on a whole network: what is decayed, what the features are, the precision of the classifier."""

import copy

import pytest
import torch
from torch import nn

from ncbench.training import ClassifierModule
from tests.helpers.whole_networks import Called, Functional, Held, Lazy, Tokens, Turned, compiled

X, Y = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def module_of(network, classifier="fc", **options):
    options = {"loss": "ce", "regulariser": "standard", "weight_decay": 1e-2, "feature_decay": None, **options}
    optimizer = lambda groups: torch.optim.SGD(groups, lr=0.1)  # noqa: E731
    return ClassifierModule(
        network=network, num_samples=120, optimizer=optimizer, whole=True, classifier=classifier, **options
    )


@pytest.fixture
def network():
    torch.manual_seed(1)
    network = Functional(1, 3, width=5, bias=False)
    network.drop.p = 0.0
    return network


def test_standard_decays_every_parameter(network):
    module = module_of(network)
    groups = module.configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [1e-2]
    assert len(groups[0]["params"]) == len(list(network.parameters()))
    expected = nn.functional.cross_entropy(copy.deepcopy(network)(X), Y)
    torch.testing.assert_close(module.training_step((X, Y), 0), expected)
    penalty = sum(float(p.detach().double().square().sum()) for p in network.parameters()) * 1e-2 / 2
    assert float(module.objective.parameter_penalty()) == pytest.approx(penalty)


def test_dufm_like_decays_the_classifiers_matrix_and_its_inputs(network):
    module = module_of(network, regulariser="dufm_like", loss="mse", feature_decay=1e-3)
    decayed, free = module.configure_optimizers().param_groups
    assert [p is network.fc.weight for p in decayed["params"]] == [True]
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-2, 0.0)
    assert module.objective.feature_layer == "fc.input"
    H = copy.deepcopy(network).features(X)
    fit = (H @ network.fc.weight.T - nn.functional.one_hot(Y, 3)).square().sum(1).mean() / 2
    expected = fit + 120 / 12 * 1e-3 / 2 * H.square().sum()  # the sum over all N, estimated from the batch
    torch.testing.assert_close(module.training_step((X, Y), 0), expected)


@pytest.mark.parametrize("how", ["plain", "keyword", "scaled"])
def test_the_features_are_the_classifiers_inputs_however_it_is_called(how):
    torch.manual_seed(2)
    network = Called(3, how)
    module = module_of(network, "last", regulariser="dufm_like", loss="mse", weight_decay=0.0, feature_decay=1e-2)
    H = network.features(X)
    outputs = H @ network.last.weight.T * (3 if how == "scaled" else 1)
    fit = (outputs - nn.functional.one_hot(Y, 3)).square().sum(1).mean() / 2
    expected = fit + 120 / 12 * 1e-2 / 2 * H.square().sum()
    torch.testing.assert_close(module.training_step((X, Y), 0), expected)


def test_a_classifier_of_every_token_has_all_of_their_features():
    torch.manual_seed(3)
    network = Tokens(3)
    H, fit = network.features(X), nn.functional.cross_entropy(network(X), Y)
    torch.testing.assert_close(module_of(network).training_step((X, Y), 0), fit)
    module = module_of(network, regulariser="dufm_like", feature_decay=1e-3)
    expected = fit + 120 / 12 * 1e-3 / 2 * H.square().sum()
    torch.testing.assert_close(module.training_step((X, Y), 0), expected)


def test_the_logits_never_stand_for_features_that_cannot_be_seen():
    decayed = {"regulariser": "dufm_like", "loss": "mse", "feature_decay": 1e-2}
    with pytest.raises(ValueError, match="classifier=last: the forward pass does not call it, so its inputs, .* of, c"):
        module_of(Called(3, "function"), "last", **decayed).training_step((X, Y), 0)
    module_of(Called(3, "function"), "last").training_step((X, Y), 0)  # no term of the features


def test_a_classifier_called_by_keyword_works_in_float32_under_autocast():
    network, seen = Called(3, "keyword"), []
    module = module_of(network, "last")
    look = lambda _, args, kwargs, output: seen.append((kwargs["input"].dtype, output.dtype))  # noqa: E731
    network.last.register_forward_hook(look, with_kwargs=True)
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step((X, Y), 0).backward()
        assert torch.is_autocast_enabled("cpu")
    assert seen == [(torch.float32, torch.float32)]


def test_dufm_like_needs_a_classifier_without_bias():
    for network, name, why in (
        (Functional(1, 3), "fc", "the classifier fc has a bias"),
        (Functional(1, 3, bias=False), "drop", "the classifier drop is no linear layer"),
        (Functional(1, 3, bias=False), None, "is not known"),
    ):
        with pytest.raises(ValueError, match=f"regulariser=dufm_like: .*{why}.*use objective=standard"):
            module_of(network, name, regulariser="dufm_like", feature_decay=1e-3)


def test_the_classifier_works_in_float32_under_autocast_and_keeps_nothing(network):
    module = module_of(network)
    seen = []
    network.fc.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    network.conv.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step((X, Y), 0).backward()
        assert seen == [torch.bfloat16, (torch.float32, torch.float32)]
        assert torch.is_autocast_enabled("cpu")  # as it was before
        network(X)  # outside of a step the network is as it came
    assert seen[-1][1] == torch.bfloat16
    assert module.classifier_input.features is None
    copy.deepcopy(network)


def test_autocast_is_as_before_where_the_classifier_fails(network):
    module = module_of(network)
    network.fc.weight.data = torch.zeros(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError):
            module.training_step((X, Y), 0)
        assert torch.is_autocast_enabled("cpu")


def test_logits_of_a_mapping_and_no_classifier():
    network = Lazy(3)
    network(X)
    module = module_of(network, None)
    torch.testing.assert_close(module.training_step((X, Y), 0), nn.functional.cross_entropy(network(X)["logits"], Y))


@pytest.mark.parametrize("make", [lambda: Held(3), lambda: Held(3, "tied"), lambda: compiled(3)])
def test_dufm_like_decays_a_classifier_of_several_names(make):
    torch.manual_seed(5)
    network = make()
    module = module_of(network, regulariser="dufm_like", loss="mse", feature_decay=1e-3)
    assert [entry.parameter is network.fc.weight for entry in module.objective.decayed] == [True]
    assert module.objective.decayed[0].name == "fc.weight"
    assert all(parameter is not network.fc.weight for _, parameter in module.free)
    network.fc.weight.requires_grad_(False)
    fixed = module_of(network, regulariser="dufm_like", loss="mse", feature_decay=1e-3)
    assert len(fixed.frozen) == 1
    assert fixed.objective.decayed == []


@pytest.mark.parametrize("how", [None, 3])
def test_a_parameter_that_no_batch_uses_is_decayed_as_the_objective_says(how):
    torch.manual_seed(6)
    network = Held(3, unused=True)
    module = module_of(network, weight_decay=0.1)
    module.micro_batch = how
    before = network.unused.weight.detach().clone()
    optimizer = module.configure_optimizers()
    module.training_step((X, Y), 0).backward()
    module.on_before_optimizer_step(optimizer)
    optimizer.step()
    torch.testing.assert_close(network.unused.weight.detach(), before * (1 - 0.1 * 0.1))


def test_the_penalty_of_a_complex_parameter_is_that_of_its_modulus():
    network = Turned(3)
    with torch.no_grad():
        network.turn.zero_()[0, 0] = 3 + 4j
        network.fc.weight.zero_()
        network.fc.bias.zero_()
    assert float(module_of(network).objective.parameter_penalty()) == pytest.approx(25 * 1e-2 / 2)
