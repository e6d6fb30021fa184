"""Where a command's lines cannot go, its run comes to its end all the same, and no page of Python's is printed."""

import fcntl
import os
import pty
import signal
import sys

import pytest
from chaos_compare import differences
from warm_start import Process

from ncbench import train
from ncbench._cli import printing
from ncbench.measure.__main__ import main as measure_command
from ncbench.records.folder import RunFolder
from ncbench.report.__main__ import main as report_command
from ncbench.run import session
from ncbench.sweep.launch import carry_out
from tests.helpers.small_runs import overrides_of
from tests.helpers.sweep_jobs import small_jobs

# Forks of the process of the tests, which other tests may have given threads: run these files on their own.
pytestmark = pytest.mark.slow

F_SETPIPE_SZ = 1031
STREAMS = ("stdout", "stderr")
UNREAD = os.strerror(28)  # No space left on device


def full():
    return os.open("/dev/full", os.O_WRONLY)


def reader_gone():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def unread_pipe():
    _, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    return writer


def terminal_gone():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    terminal, writer = pty.openpty()
    os.close(terminal)
    return writer


def put(name, handle):
    """In the child: standard output or error goes there; None: there is none, as after `>&-`."""
    number = {"stdout": 1, "stderr": 2}[name]
    if handle is None:
        os.close(number)
        setattr(sys, name, None)
    else:
        os.dup2(handle, number)
        setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))


def at_the_third_record(act):
    real, records = session.RunSession._record, []

    def record(self, *args):
        real(self, *args)
        records.append(args)
        if len(records) == 3:
            act()

    session.RunSession._record = record


def closed():
    """Both descriptors, as by a library that takes them for its own."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        put(name, os.dup(number))
    at_the_third_record(lambda: os.closerange(1, 3))


CASES = {  # what is done in the child first, and the exit status
    "stdout is full": (lambda: put("stdout", full()), 1),
    "stderr is full": (lambda: put("stderr", full()), 0),
    "both are full": (lambda: [put(name, full()) for name in STREAMS], 1),
    "no reader of stdout": (lambda: put("stdout", reader_gone()), 1),
    "no reader of stderr": (lambda: put("stderr", reader_gone()), 0),
    "no reader of both": (lambda: [put(name, reader_gone()) for name in STREAMS], 1),
    "no stdout": (lambda: put("stdout", None), 0),
    "no stderr": (lambda: put("stderr", None), 0),
    "neither": (lambda: [put(name, None) for name in STREAMS], 0),
    "both closed in the middle": (closed, (0, 1)),  # the next file has the number, and lines may go there
    "a pipe of 4 kB that nobody reads": (lambda: [put(name, unread_pipe()) for name in STREAMS], 0),
    "the terminal is gone": (lambda: [put(name, terminal_gone()) for name in STREAMS], 1),
    "an encoding without the signs": (
        lambda: [getattr(sys, name).reconfigure(encoding="ascii") for name in STREAMS],
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_whose_lines_go_nowhere(case, left_alone, tmp_path):
    prepare, status = CASES[case]
    folder = tmp_path / "run"
    command = [*overrides_of("batches"), "trainer.progress=true", f"hydra.run.dir={folder}"]
    whole = left_alone("batches")
    process = Process(command, tmp_path / "said", prepare=prepare)
    assert process.wait() in (status if isinstance(status, tuple) else (status,)), process.said
    assert "Traceback" not in process.said
    assert "Error" not in process.said
    lost = "ncbench: what is printed could not be written"
    assert process.said.count(lost) == process.said.count("ncbench:") == (case == "stdout is full"), process.said
    assert RunFolder(folder).info()["status"] == "done"
    assert differences(whole, folder) == ["config.yaml", "replicas.json"]  # trainer.progress


def test_a_grid_whose_lines_go_nowhere(tmp_path):
    command = ["-m", *overrides_of("batches"), "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep", "hydra/launcher=basic"]
    process = Process(command, tmp_path / "said", prepare=lambda: put("stdout", full()))
    assert process.wait() == 1, process.said
    assert "Traceback" not in process.said
    assert process.said.count(UNREAD) == 1, process.said
    assert [RunFolder(run.parent).info()["status"] for run in tmp_path.glob("sweep/*/run.json")] == ["done"] * 2


def test_the_jobs_of_a_pool_whose_lines_go_nowhere(tmp_path, monkeypatch):
    jobs = small_jobs(tmp_path, monkeypatch)
    plan = jobs.plan([(0.0, "done"), (0.0, "done")])
    main = printing(lambda argv: carry_out(plan))
    process = Process([], tmp_path / "said", prepare=lambda: put("stdout", full()), main=main)
    assert process.wait() == 1, process.said
    assert process.said.splitlines()[-1] == f"ncbench: what is printed could not be written ({UNREAD})"
    assert [job["status"] for job in jobs.wrote()] == ["done"] * 2


READERS = {
    "--list": (train.main, ["--list"]),
    "--help": (train.main, ["--help"]),
    "measure": (measure_command, ["{}"]),
    "report": (report_command, ["{}", "--check"]),
}


@pytest.mark.parametrize("where", [full, reader_gone], ids=["full", "no reader"])
@pytest.mark.parametrize("name", READERS)
def test_a_command_that_prints(name, where, left_alone, tmp_path):
    main, arguments = READERS[name]
    words = [word.format(left_alone("batches")) for word in arguments]
    process = Process(words, tmp_path / "said", prepare=lambda: put("stdout", where()), main=main)
    assert process.wait() == 1, process.said
    assert "Traceback" not in process.said
    assert process.said.count("\n") == (where is full), process.said
    assert (process.said == "") == (where is reader_gone)
