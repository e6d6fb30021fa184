"""Initial values by the generator that a configuration names: counter-based ones are the same bits everywhere."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from ncbench.config.models import GENERATORS as OF_CONFIG
from ncbench.config.models import Backbone, FreeFeatures
from ncbench.models import BackboneWithHead, SmallMLP, initial_values
from ncbench.models.counter_normals import normals, orthonormal
from ncbench.models.initial_values import GENERATORS, start_draws
from ncbench.models.replica import DUFM, Perceptron, start_at
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs
from ncbench.theory import dufm_ce
from ncbench.training.digest import replica_digests, weights_digest

LABELS = torch.arange(4).repeat_interleave(3)
INPUTS = torch.randn(1, 12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def free(seeds=(3, 4), **given):
    sizes = dict(depth=3, width=[9, 6, 7], activation="relu", init_scale=0.7, num_classes=4, num_samples=12)
    return DUFM(**{**sizes, "init_generator": "philox", "dtype": torch.float64, **given}, seeds=list(seeds))


def on_inputs(seeds=(3, 4), **given):
    sizes = dict(depth=3, width=[9, 6], activation="relu", init_scale=0.7, num_outputs=4, inputs=INPUTS)
    return Perceptron(**{**sizes, "init_generator": "philox", **given}, seeds=list(seeds))


def with_head(**given):
    sizes = dict(depth=3, width=12, backbone=partial(SmallMLP, hidden=[16]), input_shape=(1, 8, 8), num_classes=10)
    return BackboneWithHead(**{**sizes, "init_scale": 1.2, "seed": 5, "init_generator": "philox", **given})


def test_free_features_are_these_normals():
    """H_1 is stream 0, W_l stream l, with standard deviation g / sqrt(fan_in)."""
    network = free(init_scale=[0.7, 1.5])
    for replica, (seed, g) in enumerate([(3, 0.7), (4, 1.5)]):
        for number, (x, shape) in enumerate(zip(network.parameters(), [(12, 9), (6, 9), (7, 6), (4, 7)], strict=True)):
            assert x.shape == (2, *shape)
            expected = normals(seed, number, shape) * (g / np.sqrt(shape[1]))
            assert (x[replica].detach().numpy() == expected).all()
    entries = free(init_scale=0.5, init_rule="entry").features.value[1].detach().numpy()
    assert (entries == 0.5 * normals(4, 0, (12, 9))).all()


def test_fully_connected_networks_are_these_normals():
    for number, (W, shape) in enumerate(zip(on_inputs().weights, [(9, 5), (6, 9), (4, 6)], strict=True)):
        expected = normals(4, number, shape) * (0.7 / np.sqrt(shape[1]))
        assert (W[1].detach().numpy() == expected).all()


def test_heads_are_these_normals_or_frames():
    for number, W in enumerate(with_head().head.parameters()):
        expected = normals(5, number, tuple(W.shape)) * (1.2 / np.sqrt(12))
        assert (W.detach().numpy() == expected.astype(np.float32)).all()
    for number, W in enumerate(with_head(init_rule="orthogonal").head.parameters()):
        expected = 1.2 * orthonormal(5, number, *W.shape)
        assert (W.detach().numpy() == expected.astype(np.float32)).all()
        assert torch.linalg.svdvals(W.detach()).tolist() == pytest.approx([1.2] * len(W), rel=1e-5)
    backbones = (list(made.features.parameters()) for made in (with_head(), with_head(init_generator="torch")))
    assert all(torch.equal(a, b) for a, b in zip(*backbones, strict=True))


@pytest.mark.parametrize("make", [free, on_inputs])
def test_values_know_neither_other_replicas_nor_other_layers_nor_the_dtype(make):
    several, alone = make(seeds=[8, 3, 9]), make(seeds=[3])
    assert replica_digests(several, 3)[1:2] == replica_digests(alone, 1)
    single = make(dtype=torch.float32)
    assert all(torch.equal(a.float(), b) for a, b in zip(make().weights, single.weights, strict=True))
    # The last matrix has the same shape whatever the first widths are.
    widths = {free: [30, 20, 7], on_inputs: [30, 6]}[make]
    assert torch.equal(make(width=widths).weights[-1], make().weights[-1])
    torch_makes = [make(init_generator="torch", **given).weights[-1] for given in ({}, {"width": widths})]
    assert not torch.equal(*torch_makes)


@pytest.mark.parametrize("make", [free, on_inputs])
def test_torch_s_values_are_what_they_always_were(make):
    """One generator for all parameters of a replica, in their order."""
    network, generator = make(init_generator="torch"), torch.Generator().manual_seed(4)
    parameters = list(network.parameters()) if make is free else network.weights
    for x in parameters:
        draw = torch.randn(*x.shape[1:], generator=generator, dtype=torch.float64)
        assert torch.equal(x[1], draw * (0.7 / x.shape[2] ** 0.5))
    default = make(init_generator="torch")
    assert all(torch.equal(a, b) for a, b in zip(default.parameters(), network.parameters(), strict=True))


def test_the_bits_of_a_network_never_change():
    """SHA-256 of float32 and float64 values: what every record with this generator begins with."""
    assert (
        weights_digest(free(dtype=torch.float32)) == "1fc744da47c4cd45e3acaa7363e54dbcc435352247c0fb776d5dea838d476868"
    )
    assert weights_digest(free()) == "d4670e43abd2250236ae2fbd96c85262f16e4049f5dd82d9eae029cbcf2c41b9"


def at_structure(generator, noises=(0.0, 0.5, 0.5)):
    sizes = dict(width=12, activation="linear", num_classes=10, num_samples=50, depth=2)
    network = free(seeds=[7, 7, 8], **sizes)
    labels = torch.arange(10).repeat_interleave(5)
    given = dict(weight_decays=[[2**-10] * 2] * 3, feature_decays=[2**-10] * 3, noises=noises)
    start_at(network, ["pairs"] * 3, labels, loss="ce", seeds=[7, 7, 8], init_generator=generator, **given)
    return network.requires_grad_(False)


def test_starts_at_structures_have_frames_and_noise_of_their_own():
    network = at_structure("philox")
    H = network.features.value[0].T
    loss = dufm_ce.loss(H, [W[0] for W in network.weights], 5, 2**-10, 2**-10)
    assert float(loss) == pytest.approx(0.08001266, abs=5e-9)
    # W_1 = Q_2 S Q_1^T: its row space is that of the frame Q_1, its columns that of Q_2.
    W = network.weights[0][0].numpy()
    for l, side in ((1, W), (2, W.T)):
        Q = orthonormal(7, l, 12, 5, 2)
        assert abs(side - side @ Q @ Q.T).max() < 1e-14
    rms = float(H.square().mean().sqrt())
    for number, x in enumerate(network.parameters()):
        noise = (x[1] - x[0]).numpy() / (0.5 * rms)
        assert abs(noise - normals(7, number, noise.shape, 1)).max() < 1e-12
    assert not torch.equal(network.weights[0][1], network.weights[0][2])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("normals(seed, number, shape, _VALUES)", "normals(seed, 0, shape, _VALUES)"),
        ("for number, shape in enumerate(shapes)", "for number, shape in enumerate(shapes, 1)"),
        ("normals(seed, i, tuple(shape), _NOISE)", "normals(seed, i, tuple(shape), _VALUES)"),
        ("orthonormal(seed, l, rows, columns, _FRAMES)", "orthonormal(seed, 1, rows, columns, _FRAMES)"),
    ],
)
def test_planted_bugs_are_found(mutant, old, new):
    """What the tests above compare with, of a module in which streams are mixed up."""

    def drawn(module):
        frames, noise = module.start_draws("philox", 7)
        values = module.standard_normals("philox", 3, [(12, 9), (6, 9)])
        return [*values, noise(1, (6, 9)), frames(2, 12, 5)]

    expected = [normals(3, 0, (12, 9)), normals(3, 1, (6, 9)), normals(7, 1, (6, 9), 1), orthonormal(7, 2, 12, 5, 2)]
    assert all((a.numpy() == b).all() for a, b in zip(drawn(initial_values), expected, strict=True))
    changed = drawn(mutant(initial_values, old, new))
    assert not all((a.numpy() == b).all() for a, b in zip(changed, expected, strict=True))


def test_unknown_generators_are_refused():
    assert OF_CONFIG == GENERATORS
    line = "^init_generator=numpy must be torch or philox$"
    for make in (free, on_inputs, with_head, at_structure):
        with pytest.raises(ValueError, match=line):
            make("numpy") if make is at_structure else make(init_generator="numpy")
    with pytest.raises(ValueError, match="^init_scale=None must be a number with init_generator=philox"):
        with_head(init_scale=None)
    shape = dict(_target_="mine.Network", depth=2, width=5)
    with pytest.raises(ValueError, match=r"^model.init_generator=numpy: must be torch or philox"):
        FreeFeatures(**shape, init_generator="numpy")
    with pytest.raises(ValueError, match=r"^model.init_scale=None: must be a number with init_generator=philox"):
        Backbone(**shape, backbone={}, init_generator="philox")
    # A class of the user's own need not know the word.
    assert "init_generator" not in FreeFeatures(**shape).arguments()
    assert FreeFeatures(**shape, init_generator="philox").arguments()["init_generator"] == "philox"


def test_a_torch_start_draws_frames_and_noise_from_one_generator():
    generator, noise = start_draws("torch", 7)
    assert isinstance(generator, torch.Generator)
    expected = torch.Generator().manual_seed(7)
    for shape in ((3, 2), (4, 3)):
        assert torch.equal(noise(0, shape), torch.randn(*shape, generator=expected, dtype=torch.float64))


def test_a_run_with_counters_begins_with_these_bits(tmp_path):
    """The default of free features: part of the identity, and it reaches the network."""
    given = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=2", "measure.points=2"]
    given += ["trainer.progress=false"]
    (composed,) = compose_jobs(given, multirun=False)
    assert run_execute.execute(composed.config, tmp_path / "run", command="test") == 0
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    sizes = dict(depth=4, width=20, activation="relu", init_scale=0.7, num_classes=10, num_samples=50)
    network = DUFM(**sizes, seeds=[0, 1], init_generator="philox")
    assert (
        info["digests"]["0"]
        == weights_digest(network)
        == "4a401a3f0cf0218448f43cb6ab7801a7578b0982aef64db1bc07005ee7dc723f"
    )
    assert not info["config_hash"].startswith("fce3d74927")
