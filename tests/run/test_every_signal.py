"""Every signal, at every stage of both kinds of training: a state and one line, and an exact resume."""

import os
import signal
from dataclasses import dataclass

import pytest
from chaos_compare import differences
from warm_start import Process

from ncbench import train
from ncbench.records import lock
from ncbench.records.folder import RunFolder
from ncbench.records.runs import load_run_info
from ncbench.run import compose, session, signals
from tests.helpers.small_runs import execute, overrides_of

# Forks of the process of the tests, which other tests may have given threads: run these files on their own.
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """These signals at a stage of the run; how the command then ends and what state its folder says."""

    numbers: tuple[int, ...]
    stage: str
    status: int
    state: str | None


def stopped(*numbers, stage="third record", state="interrupted"):
    return Case(numbers, stage, 1, state)


CASES = {
    **{f"{number.name} in training": stopped(number) for number in signals.STOPPING},
    "SIGINT at the first record": stopped(signal.SIGINT, stage="first record"),
    "SIGSTOP, SIGCONT": Case((signal.SIGSTOP,), "third record", 0, "done"),
    "SIGPIPE": Case((signal.SIGPIPE,), "third record", 0, "done"),
    "SIGINT twice": stopped(signal.SIGINT, signal.SIGINT),
    "SIGINT six times": stopped(*[signal.SIGINT] * 6),
    "SIGTERM, SIGKILL": Case((signal.SIGTERM, signal.SIGKILL), "third record", -signal.SIGKILL, "interrupted"),
    "SIGINT at the lock": stopped(signal.SIGINT, stage="lock", state=None),
    "SIGTERM at the lock": stopped(signal.SIGTERM, stage="lock", state=None),
    "SIGINT after the first run.json": stopped(signal.SIGINT, stage="run.json"),
    "SIGTERM after the first run.json": stopped(signal.SIGTERM, stage="run.json"),
    "SIGINT while composing": stopped(signal.SIGINT, stage="composing", state=None),
    "SIGTERM while composing": stopped(signal.SIGTERM, stage="composing", state=None),
}


def plant(case):
    """In the child: let the signals come at their stage, once."""
    signals.PATIENCE = 600.0  # a machine may be slow
    holder, name = {
        "composing": (compose, "compose_command"),
        "lock": (lock._SystemLock, "acquire"),
        "run.json": (RunFolder, "update"),
    }.get(case.stage, (session.RunSession, "_record"))
    real, calls = getattr(holder, name), []

    def planted(*args, **more):
        value = real(*args, **more)
        calls.append(args)
        if len(calls) == (3 if case.stage == "third record" else 1):
            for number in case.numbers:
                os.kill(os.getpid(), number)
        return value

    setattr(holder, name, planted)


def ended(process):
    """The exit status of a process, which is continued where it was stopped."""
    while True:
        status = os.waitpid(process.pid, os.WUNTRACED)[1]
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        os.kill(process.pid, signal.SIGCONT)


@pytest.mark.parametrize("kind", ["ensemble", "batches"])
@pytest.mark.parametrize("name", CASES)
def test_a_run_that_is_told_to_stop(name, kind, left_alone, tmp_path):
    case, whole, folder = CASES[name], left_alone(kind), tmp_path / "runs" / "run"
    command = [*overrides_of(kind), f"hydra.run.dir={folder}"]
    main = train.main if case.state is None else lambda _: execute(kind, folder)
    process = Process(command, tmp_path / "said", prepare=lambda: plant(case), main=main)
    assert ended(process) == case.status, process.said
    if case.state is None:
        assert not folder.parent.exists()
    else:
        assert [info["status"] for info in load_run_info(folder.parent).values()] == [case.state]
    if case.state == "interrupted":
        line = f"ncbench: interrupted; the same command continues: {folder}\n"
        assert process.said == ("" if case.status < 0 else line)
    elif case.state is None:
        assert process.said == "ncbench: interrupted\n"
    assert execute(kind, folder) == 0
    assert differences(whole, folder) == []
