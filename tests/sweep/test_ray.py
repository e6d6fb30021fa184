"""The executor `ray`: what a job asks of it; jobs on clusters that the tests start, workers and nodes lost."""

import os
import re
import signal
import threading
import time
from dataclasses import replace

import pytest

from ncbench.sweep.launch import carry_out
from ncbench.sweep.ray_tasks import _resources
from ncbench.sweep.states import states_of
from tests.helpers.engine_sweeps import LONG, attempts_of, plan_of, table_of, undisturbed_table
from tests.helpers.sweep_jobs import small_jobs


@pytest.mark.parametrize(
    ("options", "job", "gpus", "cpus"),
    [
        ({}, {}, 1.0, 1.0),
        ({"jobs_per_gpu": 4}, {}, 0.25, 1.0),
        ({"jobs_per_gpu": 4}, {"devices": 2}, 2.0, 2.0),
        ({}, {"accelerator": "cpu"}, 0.0, 1.0),
        ({"cores_per_job": 3}, {}, 1.0, 3.0),
        ({"cores_per_job": 9}, {}, 1.0, 4.0),  # the largest node has 4
    ],
)
def test_what_a_job_asks_of_ray(tmp_path, monkeypatch, options, job, gpus, cpus):
    plan = small_jobs(tmp_path, monkeypatch).plan([(0.0, "done")], executor="ray", **options)
    asked = _resources(plan, replace(plan.jobs[0], **job), {"CPU": 4.0, "GPU": 2.0})
    assert asked == {"num_gpus": gpus, "num_cpus": cpus}


def test_without_gpus_none_is_asked_for_and_too_many_are_refused(tmp_path, monkeypatch):
    plan = small_jobs(tmp_path, monkeypatch).plan([(0.0, "done")], executor="ray", devices=3)
    assert _resources(plan, plan.jobs[0], {"CPU": 8.0, "GPU": 0.0}) == {"num_gpus": 0.0, "num_cpus": 3.0}
    with pytest.raises(ValueError, match=r"^trainer.devices=3: must be at most 2, the GPUs of one node$"):
        _resources(plan, plan.jobs[0], {"CPU": 8.0, "GPU": 2.0})


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of Ray on this machine with a head that takes no job; its nodes are added by the test."""
    pytest.importorskip("ray", reason="comes with ncbench[ray]")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


def in_background(plan):
    """Carry the plan out on a thread of its own, for a test that disturbs it meanwhile."""
    ended = []
    thread = threading.Thread(target=lambda: ended.append(carry_out(plan)))
    thread.start()
    return thread, ended


def workers_of(plan):
    """The processes of Ray that carry out jobs now or did, by what stands in the logs."""
    logs = [path.read_text() for path in (plan.folder / "logs").glob("*.log")]
    return [int(found) for log in logs for found in re.findall(r"on ray worker (\d+)", log)]


def until(condition, seconds=180.0):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("jobs_per_gpu", [1, 2])
def test_jobs_share_gpus_as_asked(cluster, tmp_path, jobs_per_gpu):
    """Two GPUs that are none: Ray only counts them, and says to each worker which it has."""
    cluster.add_node(num_cpus=4, num_gpus=2)
    plan = plan_of(tmp_path / "sweep", ["model.depth=2,3", "seed=0,1"], executor="ray", jobs_per_gpu=jobs_per_gpu)
    assert carry_out(plan) == 0
    attempts = attempts_of(plan)
    gpus = [re.search(r"gpu (\d)$", attempt["place"])[1] for attempt in attempts]
    assert set(gpus) <= {"0", "1"}
    for one, gpu in zip(attempts, gpus, strict=True):
        beside = [
            other
            for other, its in zip(attempts, gpus, strict=True)
            if its == gpu and other["started"] <= one["started"] < other["ended"]
        ]
        assert 1 <= len(beside) <= jobs_per_gpu
    assert table_of(plan).equals(undisturbed_table(tmp_path, ["model.depth=2,3", "seed=0,1"]))


@pytest.mark.slow
def test_a_killed_worker_changes_no_number(cluster, tmp_path):
    cluster.add_node(num_cpus=2)
    plan = plan_of(tmp_path / "sweep", [*LONG, "seed=0,1"], executor="ray")
    thread, ended = in_background(plan)
    until(lambda: len(list(plan.folder.glob("*/checkpoints/last.ckpt"))) == 2)
    killed = workers_of(plan)[0]
    os.kill(killed, signal.SIGKILL)
    thread.join(300)
    assert ended == [0]
    starts = [attempt["run"] for attempt in attempts_of(plan)]
    assert len(workers_of(plan)) == 3  # one job was begun twice
    assert sorted(set(starts)) == sorted(job.path.name for job in plan.jobs)
    assert table_of(plan).equals(undisturbed_table(tmp_path, [*LONG, "seed=0,1"]))


@pytest.mark.slow
def test_a_removed_node_changes_no_number(cluster, tmp_path):
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    plan = plan_of(tmp_path / "sweep", [*LONG, "seed=0,1"], executor="ray")
    thread, ended = in_background(plan)
    until(lambda: len(list(plan.folder.glob("*/checkpoints/last.ckpt"))) == 2)
    cluster.remove_node(nodes[0])
    thread.join(300)
    assert ended == [0]
    assert len(workers_of(plan)) == 3
    assert [state.status for state in states_of(plan)] == ["done", "done"]
    assert table_of(plan).equals(undisturbed_table(tmp_path, [*LONG, "seed=0,1"]))
