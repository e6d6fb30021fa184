"""Command lines in forks of a process that has imported everything already: a start costs milliseconds, not seconds.

The child is a session of its own, as a command of a shell is: default handlers of signals, its output in a file, the
exit status that the interpreter would give. The parent must not have started threads that hold locks; torch's own
are of no use to a child, so the parent stays at one thread, and a child that wants two starts them itself.
"""

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["Process", "warm"]

Prepare = Callable[[], object]


def warm() -> None:
    """Import what a training imports."""
    import ncbench.run.execute
    import ncbench.train
    import ncbench.training.full_batch  # noqa: F401


class Process:
    """`ncbench.train ARGUMENTS` in a fork of this process; `said` is what it printed, both streams together.

    `prepare` is called in the child first: it may plant what shall happen there. `main` takes the place of the
    training command.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        output: Path,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        prepare: Prepare | None = None,
        main: Callable[[Sequence[str]], int] | None = None,
    ) -> None:
        from ncbench.train import main as train

        command = train if main is None else main
        self.output = output
        self.status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _child(lambda: command(list(arguments)), output, cwd, environment or {}, prepare)

    def send(self, number: int) -> None:
        """A signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit status (negative: the signal that killed it), or None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self, seconds: float = 300.0) -> int:
        """The exit status; TimeoutError where it does not end, after it has been killed."""
        until = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"process {self.pid} did not end: {self.said}")
            time.sleep(0.002)
        assert self.status is not None
        return self.status

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""


def _child(
    command: Callable[[], int], output: Path, cwd: Path | None, environment: Mapping[str, str], prepare: Prepare | None
) -> NoReturn:
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.environ.update(environment)
        if cwd is not None:
            os.chdir(cwd)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor in (1, 2):
            os.dup2(handle, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(place), "w", buffering=1) for place in (1, 2))
        logging.root.handlers[:] = []
        if prepare is not None:
            prepare()
        status = command()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except OSError:
                status = 120
        os._exit(status)
