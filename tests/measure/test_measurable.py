"""Networks whose layers cannot be seen are refused in one line; those in other modes are measured as they are."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from ncbench.measure import measure_network
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.measurable import check_measurable

K = 3
X, Y = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)), torch.arange(K).repeat(8)
BATCHES = [(X[:10], Y[:10]), (X[10:], Y[10:])]


class Net(nn.Module):
    def __init__(self, inplace=False):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace))
        self.plain = nn.Sequential(nn.Linear(6, 6), nn.Identity())
        self.fc = nn.Linear(6, K)

    def forward(self, x):
        return self.fc(self.plain(self.body(x)))


class Inference(Net):
    @torch.inference_mode()
    def forward(self, x):
        return super().forward(x)


class FrozenBody(Net):
    def forward(self, x):
        with torch.inference_mode():
            x = self.plain(self.body(x))
        return self.fc(x.clone())


class ByMethod(Net):
    def forward(self, x):
        return self.fc.forward(self.plain(self.body.forward(x)))


def values(net, layers=("body", "plain", "fc"), **options):
    found = measure_network(net, BATCHES, layers=list(layers), num_classes=K, **options)
    return {(*row[1:5], row[6]): row[5] for row in found.itertuples(index=False, name=None)}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [Inference, FrozenBody])
def test_inference_mode_changes_no_value(kind, inplace):
    options = {"measures": ["nc1", "ncc_accuracy", "cdnv"]}
    found, expected = values(kind(inplace), **options), values(Net(), **options)
    assert ("train", "body", "post", "dnc1", 0) in found
    assert ("train", "plain", "post", "dnc1", 0) not in found  # the very output of its weight
    assert found == pytest.approx(expected, nan_ok=True)


def test_every_stage_that_is_not_called_is_said(caplog):
    assert {key[2] for key in values(ByMethod()) if key[1] == "body"} == {"pre", "weight"}
    assert "layer body is not called itself, only what is inside it, so it has no stage post" in caplog.text
    assert "layer fc is not called in the forward pass" in caplog.text
    assert "layer plain" not in caplog.text  # called, and its output is that of its weight


class Owner(nn.Module):
    """A module that uses the weight of one inside without calling it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 6)

    def forward(self, x):
        return nn.functional.linear(x, self.inner.weight).relu()


def test_a_weight_that_is_used_without_its_module_is_said(caplog):
    found = values(nn.Sequential(Owner(), nn.Linear(6, K)), layers=["0", "1"])
    assert {key[2] for key in found if key[1] == "0"} == {"post", "weight"}
    assert "layer 0 uses its weight without calling the module of it, so it has no stage pre" in caplog.text


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("made", [torch.jit.script, lambda net: torch.jit.trace(net, X)])
def test_a_scripted_or_traced_network_is_refused(made):
    with pytest.raises(ValueError, match=r"is scripted or traced \(torch.jit\), and such a network calls no hooks"):
        values(made(nn.Sequential(nn.Linear(5, K))), layers=["0"])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_scripted_part_has_no_layers(caplog):
    net = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(5, 6), nn.ReLU())), nn.Linear(6, K))
    for layer in ("0", "0.0", "0.1", "0.input"):
        with pytest.raises(ValueError, match=f"layers={layer}: is scripted or traced"):
            values(net, layers=[layer])
    assert ("train", "1.input", "post", "tcv", 0) in values(net, layers=["1.input", "1"])


@pytest.fixture
def mesh(tmp_path):
    from torch.distributed.device_mesh import init_device_mesh

    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def sharded_parts(net, mesh):
    from torch.distributed.fsdp import fully_shard

    for part in (net[0], net[2], net):
        fully_shard(part, mesh=mesh)
    return "DTensors"


def sharded_child(net, mesh):
    from torch.distributed.fsdp import fully_shard

    fully_shard(net[0], mesh=mesh)
    return "DTensors"


def in_low_precision(net, mesh):
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    fully_shard(net, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    return "DTensors"


def whole_after_a_pass(net, mesh):
    from torch.distributed.fsdp import fully_shard

    fully_shard(net, mesh=mesh, reshard_after_forward=False)
    net(X)
    return "fully_shard"


def gathered(net, mesh):
    from torch.distributed.fsdp import fully_shard

    fully_shard(net, mesh=mesh, reshard_after_forward=True)
    net.unshard()
    return "fully_shard"


def in_columns(net, mesh):
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    parallelize_module(net, mesh, {"0": ColwiseParallel()})
    return "tensor parallelism"


@pytest.mark.parametrize("distributed", [True, False])
@pytest.mark.parametrize(
    "form", [sharded_parts, sharded_child, in_low_precision, whole_after_a_pass, gathered, in_columns]
)
def test_sharded_parameters_are_refused(mesh, form, distributed):
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, K))
    named = form(net, mesh)
    with pytest.raises(
        ValueError, match=r"^model=\w+: its parameters are .* measure a copy that is not sharded"
    ) as said:
        values(net, layers=["0"], distributed=distributed)
    assert named in str(said.value)
    assert "\n" not in str(said.value)


def test_other_shardings_are_refused_by_their_marks():
    FullyShardedDataParallel = type("FullyShardedDataParallel", (nn.Sequential,), {"world_size": 2})
    with pytest.raises(ValueError, match="its parameters are divided by FullyShardedDataParallel"):
        LayerHooks(nn.Sequential(FullyShardedDataParallel(nn.Linear(5, K))), ["0"])
    of_zero = nn.Linear(5, K)
    of_zero.weight.ds_tensor = torch.zeros(1)
    with pytest.raises(ValueError, match="its parameters are divided by DeepSpeed's ZeRO-3"):
        check_measurable(of_zero)
    FullyShardedDataParallel.world_size = 1
    check_measurable(FullyShardedDataParallel(nn.Linear(5, K)))
