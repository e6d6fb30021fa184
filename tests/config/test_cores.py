"""How many cores a run may use, and how many it can, on a machine made of files."""

import os

import pytest

from ncbench.config import cores
from ncbench.run.compose import compose_jobs


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def config(*overrides):
    (job,) = compose_jobs(list(overrides), multirun=False)
    return job.config


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 8), ("3", 3), ("4,2", 4), ("64", 8), ("0", 8), ("-2", 8), ("", 8), ("many", 8), ("³", 8), (" 2 , 1", 2)],
)
def test_omp_num_threads_is_an_upper_bound(given, expected, eight_cores):
    environment = {"OMP_NUM_THREADS": given} if given != {} else {}
    assert cores.usable_cores(environment) == min(expected, cores.available_cores())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "350000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        # The parent's quota binds as well.
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
            },
            2,
        ),
        # Version 1, whose own group is seen as the root of the mount from inside a container.
        (
            {
                "proc/self/cgroup": "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            8,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense"}, 8),
    ],
)
def test_the_quota_of_a_container_counts(files, expected, eight_cores, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores.available_cores(tmp_path) == expected


# Multiply-adds by hand, per image or per replica.
DIGITS_MLP = 64 * 128 + 128 * 128 + 128 * 64 + 3 * 64 * 64 + 64 * 10
CONVNET = 9 * (1 * 16 * 64 + 16 * 32 * 16 + 32 * 64 * 4) + 64 * 64
PERCEPTRON = 20 * 16 + 2 * 16 * 16 + 16 * 20
DUFM = 50 * (3 * 20 * 20 + 20 * 10)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["+experiment=digits_mlp"], 170 * DIGITS_MLP),
        (["+experiment=digits_mlp", "model=convnet"], 170 * (CONVNET + 3 * 64 * 64 + 640)),
        (
            ["+experiment=digits_mlp", "model.width=[10,20,30,40]", "dataset.batch_size=1"],
            64 * 128 + 128 * 128 + 1280 + 200 + 600 + 1200 + 400,
        ),
        (["+experiment=dufm_k10", "replicate.seed=3", "+replicate.decay=[1e-3,2e-3]"], 6 * DUFM),
        (["+experiment=dufm_k10", "replicate=null"], DUFM),
    ],
)
def test_multiply_adds_by_hand(overrides, expected):
    if overrides[1:] == ["replicate=null"]:
        overrides = [overrides[0], "~replicate.seed"]
    assert cores.multiply_adds(config(*overrides)) == expected


@pytest.mark.parametrize("name", ["ResNet20", "ResNet18"])
def test_residual_networks_as_counted_by_torch(name):
    """The constants against torch's own count of the convolutions and the linear map."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ncbench import models

    network = getattr(models, name)(input_shape=(3, 32, 32), output_width=10)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    model = f"model={name.lower()}"
    backbone = ["dataset=cifar10", model, "dataset.batch_size=1", "model.width=10", "model.depth=1"]
    alone = cores.multiply_adds(config(*backbone, "trainer.max_epochs=1"))
    assert counter.get_total_flops() / 2 + 100 == pytest.approx(alone, rel=1e-3)
    whole = ["dataset=cifar10", f"model=whole_{name.lower()}", "dataset.batch_size=1", "objective=standard"]
    assert counter.get_total_flops() / 2 == pytest.approx(
        cores.multiply_adds(config(*whole, "trainer.max_epochs=1")), rel=1e-3
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["+experiment=digits_mlp"], 1),
        (["+experiment=cifar_resnet20_quick"], 1),  # digits
        (["+experiment=cifar_resnet20", "dataset.batch_size=128"], 5),  # 128 images of 40.6 million
        (["+experiment=digits_mlp", "model.backbone={_target_: torchvision.models.resnet18, _partial_: true}"], 1),
        (["+experiment=dufm_k10", "trainer.threads=null", "replicate.seed=4"], 1),
        (["+experiment=dufm_k10", "trainer.threads=null", "replicate.seed=100"], 2),
        (
            [
                "+experiment=dufm_k10",
                "trainer.threads=null",
                "replicate.seed=1",
                "dataset.per_class=5000",
                "model.width=64",
            ],
            1,
        ),  # one replica
        (
            ["+experiment=dufm_k10", "trainer.threads=null", "replicate.seed=100", "optimizer=adam"],
            1,
        ),  # torch's
        (["+experiment=dufm_k10", "trainer.threads=null", "replicate.seed=100", "optimizer=lbfgs"], 2),
        (["+experiment=zangrando24/fig1_blobs_quick"], 4),
        (["+experiment=digits_mlp", "trainer.threads=7"], 7),
    ],
)
def test_what_a_network_can_use(overrides, expected, eight_cores):
    chosen = config(*overrides)
    assert cores.cores_of_network(chosen) == expected
    assert cores.threads_of(chosen, {}) == expected
    bounded = expected if chosen.trainer.threads else min(expected, 2)  # what is asked for explicitly wins
    assert cores.threads_of(chosen, {"OMP_NUM_THREADS": "2"}) == bounded
