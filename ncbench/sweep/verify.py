"""`verify`: train what a record was made of again, and say whether the weights are the same, bit for bit.

Exit status: 0 identical, 1 different or not trained to the end; wrong input is a ValueError of one line.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ncbench._cli import check_folder
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import RUN_INFO
from ncbench.records.verified import note_verified, processor
from ncbench.sweep.again import say_around, train_again, trusting
from ncbench.sweep.committed import SUMMARY_TABLE, CommittedRun, compare_summary, runs_of_record
from ncbench.sweep.compare import compare_digests

__all__ = ["verify"]

_SAID = ("ncbench", "python", "torch", "numpy", "numba", "llvmlite")  # the versions that decide about bits

_CONTINUES = "the same command continues: {}"
_BEGINS = "the same command begins again, with --out DIR it could be continued"


def verify(
    record: Path, out: Path | None, data: Path | None = None, trust: Sequence[str] = (), *, note: bool = False
) -> int:
    """Train the configurations of a record again, each in a folder of its own in `out` (None: in a temporary one, which
    is removed), and compare the digests of the weights, or without them the values of summary.csv.

    `record` is a folder of docs/results, one of the runs in it, or any run folder with digests. `data` is where the
    data set lies, `dataset.root` of the new runs; `trust` as of `rerun`. With `note` the record keeps for which
    processor the runs were identical at all measured steps (`ncbench.records.verified`). ValueError for `out` inside
    the record or in the place of a file, and where a run has no data set in a folder.
    """
    if out is not None:
        check_folder("--out", out)
        if out.resolve().is_relative_to(record.resolve()):
            raise ValueError(f"--out {out}: must be another folder than {record}, and not inside it")
    runs, refused = runs_of_record(record, trust, data)
    options = [*(["--out", str(out)] if out is not None else []), *(["--note"] if note else []), *trusting(trust)]
    options += [f"dataset.root={data}"] if data is not None else []
    command = shlex.join(["python", "-m", "ncbench.sweep", "verify", str(record), *options])
    print(f"{record}: {len(runs)} of {len(runs) + len(refused)} runs can be trained again")
    for reason in refused:
        print(f"not trained: {reason}")
    if out is not None:
        again = [_verified(run, out, command, trust) for run in runs]
    else:
        with TemporaryDirectory(prefix="ncbench-verify-") as temporary:
            again = [_verified(run, Path(temporary), command, trust, kept=False) for run in runs]
    same = sum(info is not None for info in again)
    print(f"{same} of {len(again)} trained runs are identical")
    if note:
        _note(runs, again)
    return 0 if same == len(again) and not refused else 1


def _note(runs: Iterable[CommittedRun], again: Iterable[Mapping[str, Any] | None]) -> None:
    """Keep beside each record which of its runs were identical, by the digests of their weights, and where."""
    for run, info in zip(runs, again, strict=True):
        if info is not None and run.info.get("digests") and info.get("digests"):
            steps = {str(run.info["config_hash"]): len(run.info["digests"])}
            note_verified(run.record, processor(info.get("device") or {}), steps)


def _verified(
    run: CommittedRun, out: Path, command: str, trust: Sequence[str], *, kept: bool = True
) -> dict[str, Any] | None:
    """The run.json of the repetition where it comes out as recorded, else None."""
    print(f"{run.name}: {' '.join(run.overrides)}", flush=True)
    folder = out / run.config_hash[:10]
    if (folder / RUN_INFO).is_file() and read_run_info(folder).get("status") == "done":
        print(f"{run.name}: {folder} holds this repetition already; it is compared as it is, and not trained again")
    if not train_again(run.values, folder, command, run.overrides, run.info, trust):
        print(f"{run.name}: not trained to its end; {_CONTINUES.format(command) if kept else _BEGINS}")
        return None
    again = read_run_info(folder)
    recorded, now = run.info.get("digests"), again.get("digests")
    different = ""
    if recorded and now:
        steps, different = compare_digests(recorded, now)
        if not different:
            print(f"{run.name}: identical, bit for bit, at all {steps} measured steps")
        else:
            print(f"{run.name}: different: {different}{_replicas(run.info, again)}")
    else:
        whose = "the record" if not recorded else "the new run"
        print(f"{run.name}: {whose} has no digests of the weights; the values of its summary.csv are compared")
    if (different or not (recorded and now)) and (run.record / SUMMARY_TABLE).is_file():
        different = _summary(run, folder) or different
    print(f"    recorded on {_machine(run.info)}")
    print(f"    trained again on {_machine(again)}")
    say_around(run.info, again, folder if kept else None, not different)
    return None if different else again


def _summary(run: CommittedRun, folder: Path) -> str:
    """Says how the values of summary.csv compare; the first difference, "" where there is none."""
    values, first, differing, largest = compare_summary(run, folder)
    if first:
        print(f"{run.name}: different: {first}")
        print(f"{run.name}: {differing} of {values} values differ in six digits, by at most {largest:.3g} relative")
    else:
        print(f"{run.name}: identical: {values} values of summary.csv to six digits")
    return first


def _replicas(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    """How many replicas of an ensemble end with the same weights all the same, where both runs say it of each."""
    before, now = recorded.get("replica_digests"), again.get("replica_digests")
    if not before or not now or len(before) != len(now):
        return ""
    same = sum(one == other for one, other in zip(before, now, strict=True))
    return f"; {same} of {len(before)} replicas end with the same weights"


def _machine(info: Mapping[str, Any]) -> str:
    """Processor, threads, engine and versions of a run, as its run.json has them."""
    device, versions, git = (info.get(name) or {} for name in ("device", "versions", "git"))
    device = device if isinstance(device, dict) else {"name": device}
    threads, commit = device.get("threads"), git.get("commit")
    said = [device.get("name") or "an unknown machine"]
    said += [f"{threads} {'thread' if threads == 1 else 'threads'}"] if threads else []
    said += [f"engine {info['engine']}"] if isinstance(info.get("engine"), str) else []
    said += [f"{name} {versions[name]}" for name in _SAID if name in versions]
    return ", ".join([*said, *([f"commit {commit[:10]}"] if commit else [])])
