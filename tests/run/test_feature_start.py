import pytest
import torch
from torch import nn

from ncbench.models.resnets import ResNet20
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs
from ncbench.run.feature_start import center_features, first_samples


class Mapped(nn.Module):
    """A body before a linear map, and something behind it."""

    def __init__(self, linear, behind=None, body=None):
        super().__init__()
        self.body, self.linear, self.behind = body or nn.Identity(), linear, behind or nn.Identity()

    def forward(self, x):
        return self.behind(self.linear(self.body(x)))


def test_four_points_by_hand():
    """Mean (2, 2), squared distances 1 + 4: a quarter of the variance halves the map, and the mean goes to 0."""
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
        linear.bias.zero_()
    points = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1.0, 4.0], [3.0, 4.0]])
    center_features(linear, points, 1.25)
    assert linear.weight.tolist() == [[0.5, 0.0], [0.0, 0.5]]
    assert linear.bias.tolist() == [-1.0, -1.0]
    assert linear(points).tolist() == [[-0.5, -1.0], [0.5, -1.0], [-0.5, 1.0], [0.5, 1.0]]


def test_a_resnet_has_the_variance_at_its_first_step_and_nothing_else_has_changed():
    torch.manual_seed(0)
    network = ResNet20(input_shape=(3, 8, 8), output_width=16, kernel_scale=0.1)
    images = torch.rand(40, 3, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    center_features(network, images, 0.4)
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert all(module.training for module in network.modules())
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"output.weight", "output.bias"}
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    h = network(images).detach()
    assert h.mean(0) == pytest.approx(torch.zeros(16), abs=1e-6)
    assert h.square().sum(1).mean().item() == pytest.approx(0.4, rel=1e-5)


def test_dropout_is_off_and_the_mode_is_left_as_it_was():
    network = Mapped(nn.Linear(3, 2), body=nn.Dropout(0.9)).eval()
    points = torch.rand(50, 3)
    center_features(network, points, 2.0)
    assert not network.training
    assert network(points).square().sum(1).mean().item() == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize(
    "features",
    [
        nn.Linear(3, 2, bias=False),
        Mapped(nn.Linear(3, 2), behind=nn.ReLU()),
        nn.Sequential(nn.Flatten(), nn.Tanh()),
    ],
    ids=["no bias", "a ReLU behind", "no linear map"],
)
def test_features_of_no_linear_map_are_refused(features):
    with pytest.raises(ValueError, match=r"init_feature_variance=0.4: needs a backbone that ends with a linear map"):
        center_features(features, torch.rand(4, 3), 0.4)


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_features_without_a_variance_are_refused(value):
    with pytest.raises(ValueError, match=r"init_feature_variance=0.4: the features start with variance (0.0|nan)"):
        center_features(nn.Linear(3, 2), torch.full((4, 3), value), 0.4)


def test_a_run_starts_with_the_variance_over_the_first_of_every_class():
    given = ["+experiment=digits_mlp", "dataset.per_class=20", "trainer.max_epochs=1"]
    (plain,) = compose_jobs(given, multirun=False)
    (job,) = compose_jobs([*given, "+model.init_feature_variance=0.4"], multirun=False)
    assert job.folder != plain.folder
    first, again, other = build(job.config), build(job.config), build(plain.config)
    x = first_samples(first.data)
    assert x.shape == (200, 1, 8, 8)  # all there are; 100 of each class of larger data
    h = first.network.features(x).detach()
    assert h.mean(0).abs().max() < 1e-6
    assert h.square().sum(1).mean().item() == pytest.approx(0.4, rel=1e-5)
    values, same, others = (built.network.state_dict() for built in (first, again, other))
    assert all(torch.equal(values[name], same[name]) for name in values)
    changed = {name for name in values if not torch.equal(values[name], others[name])}
    assert len(changed) == 2
    assert all(name.startswith("features.") for name in changed)


def test_a_linear_map_without_bias_is_refused_in_one_line_that_names_the_key():
    given = ["+experiment=cifar_resnet20_quick", "+model.init_feature_variance=0.4", "+model.backbone.bias=false"]
    (job,) = compose_jobs(given, multirun=False)
    with pytest.raises(ValueError, match=r"model.init_feature_variance=0.4: needs a backbone that ends") as caught:
        build(job.config)
    assert "\n" not in str(caught.value)
