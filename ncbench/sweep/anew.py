"""Trains a recorded configuration again, in a process of its own: `python -m ncbench.sweep.anew < REQUEST`.

The request is one JSON object: the plain values of the configuration, the folder, the overrides it was made of, the
number of threads and the command that asks for it. Threads and devices come in the environment, before torch does.
"""

if __name__ == "__main__":
    from ncbench._safe_path import leave_current_folder

    leave_current_folder()  # first: what is imported after it is not the folder's

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ncbench._cli import collector_off
from ncbench.config.measuring import Logger
from ncbench.config.trusted import read_recorded
from ncbench.sweep.process import environment_of

__all__ = ["main", "train_anew"]


def train_anew(
    values: Mapping[str, Any],
    folder: Path,
    *,
    command: str,
    overrides: Sequence[str],
    device: Mapping[str, Any],
    trust: Sequence[str] = (),
) -> int:
    """Train the configuration in the folder, or continue it there; the exit status of `ncbench.train`.

    `device` is that entry of the run.json to be repeated: with its number of threads, as sums of many numbers depend
    on it, and on the processor where the run was made on one. `trust` as of `ncbench.config.trusted.read_recorded`.
    """
    threads = device.get("threads")
    request = {
        "values": dict(values),
        "folder": str(folder.absolute()),
        "command": command,
        "overrides": list(overrides),
        "threads": threads,
        "trust": list(trust),
    }
    hidden: list[str] | None = [] if device.get("accelerator") == "cpu" else None
    environment = dict(os.environ) if threads is None else environment_of(hidden, int(threads))
    line = [sys.executable, "-m", "ncbench.sweep.anew"]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, text=True, env=environment)
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(request))
    try:
        return process.wait()
    except KeyboardInterrupt:  # the run has had it, too, and saves its state
        process.wait()
        return 1


def main(text: str) -> int:
    """Carry out a request."""
    with collector_off():
        from ncbench.run.current_folder import installed_modules_only
        from ncbench.run.execute import execute

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    request = json.loads(text)
    recorded = read_recorded(request["values"], request["trust"])
    config = replace(recorded, logger=Logger())  # nothing is sent twice
    with installed_modules_only(not request["trust"]):
        return execute(
            config,
            request["folder"],
            command=request["command"],
            overrides=request["overrides"],
            threads=request["threads"],
        )


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
