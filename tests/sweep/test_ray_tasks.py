"""What the executor `ray` asks of Ray and makes of its answers; Ray itself, which need not be installed, is a stand-in.

With a real Ray: test_ray.py. The stand-in has the calls that the executor makes, with the meaning of Ray's manual: a
task begins when it is handed over, `wait` gives the ended ones, `get` its value or a RayError.
"""

import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from ncbench.sweep import ray_tasks
from ncbench.sweep.launch import carry_out
from ncbench.sweep.states import states_of
from tests.helpers.sweep_jobs import small_jobs


class RayError(Exception):
    """As ray.exceptions.RayError."""


class Task:
    """A task, begun; `lost`: its worker is gone before it begins."""

    def __init__(self, function, arguments, lost):
        self.value, self.lost = None, lost
        self.thread = threading.Thread(target=lambda: setattr(self, "value", function(*arguments)))
        if not lost:
            self.thread.start()
            self.thread.join()  # one after the other: nothing here is about the order in which tasks end


class Ray(ModuleType):
    """One node of 4 cores; remembers what it was asked for."""

    def __init__(self, lost=(), running=False, refuses=None):
        super().__init__("ray")
        self.__spec__ = ModuleSpec("ray", None)
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.lost, self.running, self.refuses = lost, running, refuses
        self.started, self.asked, self.cancelled, self.interrupted = [], [], [], False

    def is_initialized(self):
        return self.running

    def init(self, **arguments):
        self.started.append(arguments)
        if self.refuses:
            raise self.refuses
        self.running = True

    def shutdown(self):
        self.running = False

    def nodes(self):
        return [
            {"Alive": True, "Resources": {"CPU": 4.0}},
            {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
        ]

    def remote(self, function):
        def options(**asked):
            def hand_over(folder, run, cores):
                self.asked.append({"cores": cores, **asked})
                return Task(function, (folder, run, cores), len(self.asked) - 1 in self.lost)

            return SimpleNamespace(remote=hand_over)

        return SimpleNamespace(options=options)

    def wait(self, references, num_returns, timeout):
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        return references[:num_returns], references[num_returns:]

    def get(self, task):
        if task.lost:
            raise RayError("The worker died unexpectedly.\nMore lines.")
        return task.value

    def cancel(self, task):
        self.cancelled.append(task)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    return small_jobs(tmp_path, monkeypatch)


def put_in_place(monkeypatch, ray):
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def test_every_job_is_handed_over_and_how_it_ended_is_told(jobs, monkeypatch, capsys):
    ray = put_in_place(monkeypatch, Ray(lost=[2]))
    plan = jobs.plan([(0.0, "done"), (0.0, "failed"), (0.0, "done"), (0.0, "refused")], executor="ray")
    assert carry_out(plan) == 1
    states = states_of(plan)
    assert [(state.status, state.refused) for state in states] == [
        ("done", False),
        ("failed", False),
        ("failed", False),
        ("failed", True),
    ]
    assert states[2].reason == "RayError: The worker died unexpectedly."
    one = {"cores": 1, "num_gpus": 0.0, "num_cpus": 1.0, "max_retries": 10, "retry_exceptions": False}
    assert ray.asked == [one] * 4  # the node with GPUs is not alive
    assert not ray.running  # it was started for this command
    (arguments,) = ray.started
    assert not arguments["include_dashboard"]
    said = capsys.readouterr()
    assert "1 of 4 jobs done, 3 failed" in said.err + said.out


def test_a_cluster_that_runs_is_joined_and_left_running(jobs, monkeypatch):
    ray = put_in_place(monkeypatch, Ray(running=True))
    assert carry_out(jobs.plan([(0.0, "done")], executor="ray", cores_per_job=9)) == 0
    assert ray.running
    assert not ray.started
    assert ray.asked[0]["num_cpus"] == 4.0  # no node has 9


def test_an_address_brings_its_own_processors(jobs, monkeypatch):
    ray = put_in_place(monkeypatch, Ray())
    assert carry_out(jobs.plan([(0.0, "done")], executor="ray", ray={"address": "auto"})) == 0
    (arguments,) = ray.started
    assert arguments == {"log_to_driver": False, "logging_level": "warning", "address": "auto"}


def test_a_cluster_that_is_not_reached_is_one_line(jobs, monkeypatch):
    put_in_place(monkeypatch, Ray(refuses=ConnectionError("Could not find any running Ray instance.\nMore.")))
    plan = jobs.plan([(0.0, "done")], executor="ray", ray={"address": "auto"})
    with pytest.raises(ValueError, match=r"^hydra.launcher.ray: Could not find any running Ray instance.$"):
        carry_out(plan)
    assert not jobs.wrote()


def test_an_interrupt_cancels_what_is_left(jobs, monkeypatch, capsys):
    ray = put_in_place(monkeypatch, Ray())
    ray.interrupted = True
    carry_out(jobs.plan([(0.0, "done"), (0.0, "done")], executor="ray"))
    assert len(ray.cancelled) == 2
    assert not ray.running
    said = capsys.readouterr()
    assert "the running jobs save their state; they can resume" in said.err + said.out


def test_a_cancelled_task_stops_its_run(monkeypatch):
    """The attempt that is under way when the task is cancelled is asked to save and end."""
    stopped = []
    attempts = [
        SimpleNamespace(poll=lambda: None, stop=lambda: stopped.append("running")),
        SimpleNamespace(poll=lambda: 0),
    ]

    def cancelled(folder, run, place, cores, started):
        for attempt in attempts:
            started(attempt)
        raise KeyboardInterrupt

    monkeypatch.setattr(ray_tasks, "carry_out_job", cancelled)
    with pytest.raises(KeyboardInterrupt):
        ray_tasks._task("sweep", "run", 1)
    assert stopped == ["running"]
