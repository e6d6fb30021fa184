"""A plan and the states of its jobs as text."""

import shlex
from collections import Counter
from collections.abc import Sequence

from ncbench.records.schema import SWEEP
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.states import JobState, states_of

__all__ = ["duration", "plan_text", "status_text"]

_LISTED = 20  # jobs that a plan lists before it says how many more there are


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(42), duration(90), duration(7260), duration(200000)
    ('42 s', '1 min 30 s', '2 h 1 min', '2 d 7 h')
    """
    seconds = round(seconds)
    for size, unit, less, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def plan_text(plan: Plan) -> str:
    """Number of jobs, axes, what a job needs, the estimated cost, and what is done already."""
    states = states_of(plan)
    done = sum(state.status == "done" for state in states)
    lines = [f"{len(plan.jobs)} jobs in {plan.folder}" + (f", {done} of them done already" if done else "")]
    lines += [f"  {key}: {len(values)} values: {_shortened(values)}" for key, values in plan.axes.items()]
    lines += [f"  replicas per job: {_range(plan.jobs, 'replicas')}; cores per job: {_range(plan.jobs, 'cores')}"]
    gpus = plan.options.gpus_here()
    lines += [f"  executor: {plan.options.executor}; GPUs here: {', '.join(gpus) or 'none'}"]
    lines += [f"  {_cost(plan.jobs, states)}"]
    lines += [f"  {job.number:4d}  {state.status:11s}  {job.label}" for job, state in _first(plan, states)]
    if len(plan.jobs) > _LISTED:
        lines += [f"  ... and {len(plan.jobs) - _LISTED} more"]
    lines += ["nothing was started; this starts it:", f"  {plan.command}"]
    return "".join(f"{line}\n" for line in lines)


def _first(plan: Plan, states: Sequence[JobState]) -> list[tuple[PlannedJob, JobState]]:
    return list(zip(plan.jobs, states, strict=True))[:_LISTED]


def _shortened(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= 8 else f"{', '.join(values[:4])}, ..., {values[-1]}"


def _range(jobs: Sequence[PlannedJob], name: str) -> str:
    values = [getattr(job, name) for job in jobs]
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _cost(jobs: Sequence[PlannedJob], states: Sequence[JobState]) -> str:
    """The time of all jobs one after the other, from runs of the sweep itself or from committed records."""
    from ncbench.sweep.workload import recorded_rate

    known: dict[str, float | None] = {}
    measured_here = True
    for experiment in dict.fromkeys(job.experiment for job in jobs):
        own = [
            (job.work, state.wall_seconds)
            for job, state in zip(jobs, states, strict=True)
            if job.experiment == experiment and state.status == "done" and state.wall_seconds
        ]
        measured = sum(seconds for _, seconds in own) / sum(work for work, _ in own) if own else None
        measured_here = measured_here and measured is not None
        known[experiment] = measured or recorded_rate(experiment)
    unknown = [experiment for experiment, rate in known.items() if rate is None]
    if unknown:
        return f"cost: not known, as {', '.join(unknown)} has no record"
    left = [job for job, state in zip(jobs, states, strict=True) if state.status != "done"]
    seconds = sum((known[job.experiment] or 0.0) * job.work for job in left)
    of = ", ".join(known)
    source = "the jobs that are done" if measured_here else f"the records of {of}, of another machine"
    start = "starting a job takes some 10 s more"
    return f"cost: about {duration(seconds)} of training one after the other, by {source}; {start}"


def status_text(plan: Plan, states: Sequence[JobState], *, every: bool) -> str:
    """How many jobs are in each state, and of those that need a look, which and why."""
    count = Counter(state.status for state in states)
    order = ("done", "running", "interrupted", "failed", "planned")
    lines = [", ".join(f"{count[status]} {status}" for status in order if count[status]) + f" of {len(states)} jobs"]
    for job, state in zip(plan.jobs, states, strict=True):
        if every or state.status in ("running", "failed", "interrupted"):
            took = f" after {duration(state.wall_seconds)}" if state.wall_seconds else ""
            why = f": {state.reason}" if state.reason else ""
            lines += [f"  {job.number:4d}  {state.status:11s}  {job.label}{took}{why}"]
    if count["done"] < len(states):
        lines += [f"continue: python -m ncbench.sweep resume {shlex.quote(str(plan.folder))}"]
        lines += [] if plan.earlier else [f"      or: {plan.command}"]
    lines += [f"plan: {plan.folder / SWEEP}"]
    return "".join(f"{line}\n" for line in lines)
