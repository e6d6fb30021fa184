"""How two runs differ in what their `config.yaml` and `run.json` say: configuration, versions and machine, weights.

`dir` is the list of two run folders (`ncbench.report.comparison.two_runs`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ncbench.records.computed import computed, identity
from ncbench.records.runs import Dir, load_run_info

__all__ = ["Differing", "of_configuration", "of_making", "of_weights"]

NOT_SET = "not set"
Differing = tuple[str, str, str]  # what, in the first run, in the second


def of_configuration(dir: Dir) -> list[Differing] | None:
    """The keys of the configuration that differ, with the seed and the number of networks, by dotted name.

    Keys that compute nothing are left out. None where a run has no `config.yaml`.
    """
    configs, infos = computed(dir), load_run_info(dir)
    sides: list[dict[str, Any]] = []
    for name, values in configs.items():
        if values is None:
            return None
        sides.append({**values, "seed": infos[name].get("seed"), "networks": infos[name].get("replicas")})
    first, second = sides
    return _differing(first, second)


def of_making(dir: Dir) -> list[Differing]:
    """The versions, the machine and the commit that differ, by dotted name in `run.json`."""
    first, second = (dict(_made(info)) for info in load_run_info(dir).values())
    return _differing(first, second)


def of_weights(dir: Dir) -> tuple[int | None, str]:
    """The first measured step at which the digests of the weights differ (None where none does), and a sentence."""
    known = {name: info.get("digests") or {} for name, info in load_run_info(dir).items()}
    without = [name for name, digests in known.items() if not digests]
    if without:
        return None, f"not compared, there is no digest of them in {' and '.join(without)}"
    first, second = known.values()
    steps = sorted(int(step) for step in first if step in second)
    if not steps:
        return None, "not compared, no step has a digest in both"
    for equal, step in enumerate(steps):
        if first[str(step)] != second[str(step)]:
            before = f"; at {equal} measured before it they are the same" if equal else ""
            return step, f"differ first at step {step}{before}"
    return None, f"the same at all {len(steps)} steps measured in both"


def _made(info: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What made a run, by dotted name in its run.json: versions, device and commit."""
    for group in ("versions", "device", "git"):
        entries = info.get(group)
        if isinstance(entries, Mapping):
            yield from ((f"{group}.{key}", value) for key, value in entries.items())
        elif entries is not None:
            yield group, entries


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Differing]:
    """The keys whose values differ, 1 and 1.0 being the same; one that a side has not is told from one without a value.

    >>> _differing({"a": 1, "b": None, "c": "x"}, {"a": 1.0, "c": "y"})
    [('b', 'null', 'not set'), ('c', 'x', 'y')]
    """
    one, other = dict(identity(first)), dict(identity(second))
    keys = [key for key in {**first, **second} if one.get(key) != other.get(key)]
    return [(key, _said(first, key), _said(second, key)) for key in keys]


def _said(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return NOT_SET
    return "null" if values[key] is None else str(values[key]) or '""'
