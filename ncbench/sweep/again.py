"""`rerun`: train a recorded configuration again, in another folder, and say whether the same comes out.

Exit status: 0 identical, 1 different or not trained to the end; wrong input is a ValueError of one line.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ncbench._cli import SaidError
from ncbench.config.identity import differences
from ncbench.config.trusted import read_recorded
from ncbench.records.folder import RunFolder, RunState
from ncbench.records.proven_files import check_small_files
from ncbench.records.run_hash import config_hash
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import CONFIG, OVERRIDES, RUN_INFO
from ncbench.records.small_files import read_yaml
from ncbench.records.whole_files import refuse_link
from ncbench.sweep.anew import train_anew
from ncbench.sweep.compare import compare_digests, compare_tables, made_differently

__all__ = ["overrides_of", "rerun", "say_around", "train_again", "trusting"]


def rerun(run: Path, out: Path | None, trust: Sequence[str] = ()) -> int:
    """Train the run's configuration again in `out` (default: the run's folder with `-again` behind its name) with as
    many threads, and compare all recorded values and, where both have them, the digests of the weights.

    `trust` are packages whose classes the configuration may name beside the known ones (`ncbench.config.trusted`).
    ValueError for a folder that is no finished run with a configuration, and for `out` inside it.
    """
    if not (run / RUN_INFO).is_file():
        raise ValueError(f"{run}: is no run (no {RUN_INFO} in it)")
    info = RunFolder(run).info()
    if info.get("status") != "done":
        raise ValueError(f"{run}: its status is {info.get('status')}; only a run that is done is repeated")
    if not (run / CONFIG).is_file():
        raise ValueError(f"{run}: has no {CONFIG}, so there is nothing to train")
    check_small_files(run)
    values = read_yaml(run / CONFIG)
    given = [] if out is None else ["--out", str(out)]
    if out is None:
        out = run.resolve().with_name(f"{run.resolve().name}-again")
        refuse_link(out)  # which came with the run, for all that is known
    if out.resolve().is_relative_to(run.resolve()):
        raise ValueError(f"--out {out}: must be another folder than {run}, and not inside it")
    overrides = overrides_of(run)
    command = shlex.join(["python", "-m", "ncbench.sweep", "rerun", str(run), *given, *trusting(trust)])
    if not train_again(values, out, command, overrides, info, trust):
        print(f"not trained to its end; the same command continues: {command}")
        return 1
    again = read_run_info(out)
    comparison = compare_tables(run, out)
    print(comparison.text())
    weights = _weights(info, again)
    identical = comparison.identical and not weights
    say_around(info, again, out, identical)
    return 0 if identical else 1


def overrides_of(run: Path) -> list[str]:
    """The overrides that a run folder lists; ValueError of one line where the file holds something else."""
    overrides = read_yaml(run / OVERRIDES) if (run / OVERRIDES).is_file() else []
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise ValueError(f"{run / OVERRIDES}: must hold a list of texts")
    return overrides


def trusting(trust: Sequence[str]) -> list[str]:
    """The same trust as words of a command line."""
    return [word for package in trust for word in ("--trust", package)]


def train_again(
    values: Mapping[str, Any],
    out: Path,
    command: str,
    overrides: list[str],
    info: Mapping[str, Any],
    trust: Sequence[str] = (),
) -> bool:
    """Whether the configuration is trained to its end in `out`.

    ValueError where the folder has something else, and where the values, which are somebody else's, name what is not
    trusted (`ncbench.config.trusted`); SaidError, which is one, where training was refused.
    """
    config = read_recorded(values, trust)
    wanted = config_hash(differences(config))
    if (out / RUN_INFO).is_file():
        if RunFolder(out).state(wanted) is RunState.DONE:
            return True
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: must be a new or an empty folder, or that of the same repetition")
    device = info["device"] if isinstance(info.get("device"), dict) else {}
    status = train_anew(values, out, command=command, overrides=overrides, device=device, trust=trust)
    if status == 2:
        raise SaidError(f"{out}: could not be trained")
    return status == 0


def _weights(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    """Says how the weights compare where both runs have digests; the first difference, "" where there is none."""
    if not (recorded.get("digests") and again.get("digests")):
        print("the weights are not compared: one of the runs has no digests of them")
        return ""
    steps, first = compare_digests(recorded["digests"], again["digests"])
    print(first or f"identical: the weights at {steps} steps")
    return first


def say_around(recorded: Mapping[str, Any], again: Mapping[str, Any], out: Path | None, identical: bool) -> None:
    """Says what is not the same around two runs that differ, and in which folder the second is, where that is kept."""
    around = made_differently(recorded, again)
    if around and not identical:
        print(f"not the same either: {around}")
    if out is not None:
        print(f"trained again in {out}")
