"""`rerun` and `verify`: train a recorded configuration again, in another folder, and say whether the same comes out.

Exit status: 0 identical, 1 different or not trained to the end; wrong input is a ValueError of one line.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncbench.config.identity import differences
from ncbench.config.validate import validate_recorded
from ncbench.records.folder import RunFolder, RunState
from ncbench.records.run_hash import config_hash
from ncbench.records.runs import read_json, read_yaml
from ncbench.records.schema import CONFIG, OVERRIDES, RUN_INFO
from ncbench.sweep.anew import train_anew
from ncbench.sweep.committed import CommittedRun, compare_summary, runs_of_record
from ncbench.sweep.compare import compare_digests, compare_tables, made_differently

__all__ = ["rerun", "verify"]


def rerun(run: Path, out: Path | None) -> int:
    """Train the run's configuration again in `out` (default: the run's folder with `-again` behind its name) with as
    many threads, and compare all recorded values and, where both have them, the digests of the weights.

    ValueError for a folder that is no finished run with a configuration, and for `out` inside it.
    """
    if not (run / RUN_INFO).is_file():
        raise ValueError(f"{run}: is no run (no {RUN_INFO} in it)")
    info = RunFolder(run).info()
    if info.get("status") != "done":
        raise ValueError(f"{run}: its status is {info.get('status')}; only a run that is done is repeated")
    if not (run / CONFIG).is_file():
        raise ValueError(f"{run}: has no {CONFIG}, so there is nothing to train")
    values = read_yaml(run / CONFIG)
    out = out or run.resolve().with_name(f"{run.resolve().name}-again")
    if out.resolve().is_relative_to(run.resolve()):
        raise ValueError(f"--out {out}: must be another folder than {run}, and not inside it")
    overrides = read_yaml(run / OVERRIDES) if (run / OVERRIDES).is_file() else []
    if not _trained(values, out, ["rerun", str(run)], overrides, info):
        return 1
    again = read_json(out / RUN_INFO)
    comparison = compare_tables(run, out)
    print(comparison.text())
    weights = _weights(info, again)
    identical = comparison.identical and not weights
    _say_around(info, again, out, identical, weights)
    return 0 if identical else 1


def verify(record: Path, out: Path | None) -> int:
    """Train a committed record's configurations again, each in a folder of its own in `out` (default:
    `outputs/verify/<name>`), and compare the digests of the weights, or without them the values of summary.csv.

    `record` is a folder of docs/results, or one of the runs in it.
    """
    runs, refused = runs_of_record(record)
    out = out or Path("outputs", "verify", runs[0].info["name"])
    print(f"{record}: {len(runs)} of {len(runs) + len(refused)} runs can be trained again")
    for reason in refused:
        print(f"not trained: {reason}")
    same = [_verified(run, record, out / run.config_hash[:10]) for run in runs]
    print(f"{sum(same)} of {len(runs)} trained runs are identical")
    return 0 if all(same) and not refused else 1


def _verified(run: CommittedRun, record: Path, folder: Path) -> bool:
    """Whether one run of a record comes out as recorded."""
    print(f"{run.name}: {' '.join(run.overrides)}", flush=True)
    if not _trained(run.values, folder, ["verify", str(record)], run.overrides, run.info):
        return False
    again = read_json(folder / RUN_INFO)
    recorded, now = run.info.get("digests"), again.get("digests")
    weights = ""
    if recorded and now:
        steps, weights = compare_digests(recorded, now)
        if not weights:
            print(f"{run.name}: identical: the weights at {steps} steps")
            return True
        print(f"{run.name}: different: {weights}")
    else:
        whose = "the record" if not recorded else "the new run"
        print(f"{run.name}: {whose} has no digests of the weights; the values of its summary.csv are compared")
    values, first, differing, largest = compare_summary(run, folder)
    if first:
        print(f"{run.name}: different: {first}")
        print(f"{run.name}: {differing} of {values} values differ in six digits, by at most {largest:.3g} relative")
    else:
        print(f"{run.name}: identical: {values} values of summary.csv to six digits")
    identical = not (weights or first)
    _say_around(run.info, again, folder, identical, "")
    return identical


def _trained(
    values: Mapping[str, Any], out: Path, command: list[str], overrides: list[str], info: Mapping[str, Any]
) -> bool:
    """Whether the configuration is trained to its end in `out`; ValueError where the folder has something else."""
    config = validate_recorded(values)
    wanted = config_hash(differences(config))
    if (out / RUN_INFO).is_file():
        if RunFolder(out).state(wanted) is RunState.DONE:
            return True
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: must be a new or an empty folder, or that of the same repetition")
    device = info.get("device") or {}
    text = shlex.join(["python", "-m", "ncbench.sweep", *command])
    status = train_anew(values, out, command=text, overrides=overrides, device=device)
    if status == 2:
        raise ValueError(f"{out}: could not be trained, as said above")
    if status != 0:
        print(f"not trained to its end; the same command continues: {text}")
    return status == 0


def _weights(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    """Says how the weights compare where both runs have digests; the first difference, "" where there is none."""
    if not (recorded.get("digests") and again.get("digests")):
        print("the weights are not compared: one of the runs has no digests of them")
        return ""
    steps, first = compare_digests(recorded["digests"], again["digests"])
    print(first or f"identical: the weights at {steps} steps")
    return first


def _say_around(recorded: Mapping[str, Any], again: Mapping[str, Any], out: Path, identical: bool, first: str) -> None:
    around = made_differently(recorded, again)
    if around and not identical:
        print(f"not the same either: {around}")
    print(f"trained again in {out}")
