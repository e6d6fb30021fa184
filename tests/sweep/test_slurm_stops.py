"""Ctrl-C while the executor `slurm` follows its jobs: those in SLURM's hands stay there, those on this machine stop."""

import pytest

from ncbench.sweep import slurm
from ncbench.sweep.plan import write_plan
from ncbench.sweep.slurm import prepare_submitit
from tests.helpers.sweep_jobs import small_jobs
from tests.helpers.told import Told

pytest.importorskip("submitit")


class Submitted:
    """A job; the first look at any is interrupted."""

    looks = 0

    def __init__(self, number, ended):
        self.job_id, self.ended, self.cancelled = f"77_{number}", ended, False

    def done(self):
        Submitted.looks += 1
        if Submitted.looks == 1:
            raise KeyboardInterrupt
        return self.ended

    def cancel(self, check):
        self.cancelled = True


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """Follows three jobs on a cluster until Ctrl-C; returns what was said and the jobs."""
    monkeypatch.setattr(Submitted, "looks", 0)
    submitted = [Submitted(number, ended=number == 2) for number in range(3)]

    class Executor:
        def submit_array(self, tasks):
            return submitted[: len(tasks)]

    def follow(cluster):
        monkeypatch.setattr(slurm, "_executor", lambda plan, cluster, parameters: Executor())
        monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/bin/{name}")
        given = {"cluster": cluster, "cpus_per_task": 1, **({} if cluster == "slurm" else {"array_parallelism": 3})}
        plan = small_jobs(tmp_path, monkeypatch).plan([(0.0, "done")] * 3, executor="slurm", slurm=given)
        write_plan(plan)
        told = Told()
        prepare_submitit(plan, plan.jobs, told)()
        return told.said, submitted, plan

    return follow


def test_what_slurm_has_goes_on(interrupted):
    said, jobs, plan = interrupted("slurm")
    status = f"python -m ncbench.sweep status {plan.folder}"
    assert said == [f"3 jobs are still in SLURM's hands; scancel 77 ends them; {status} shows how far they are"]
    assert not any(job.cancelled for job in jobs)


def test_what_runs_here_is_stopped(interrupted):
    """The third had ended by then."""
    said, jobs, _ = interrupted("local")
    assert said == ["the jobs that ran here were stopped and can resume"]
    assert [job.cancelled for job in jobs] == [True, True, False]
