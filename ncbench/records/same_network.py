"""Which networks of several runs are of one setting, and which are the same network, trained twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ncbench.records.computed import NOT_COMPUTED, OF_KIND, Values, explains, identity, value_of_replica
from ncbench.records.naming import known_values
from ncbench.records.schema import RECORDED_BY

__all__ = ["Network", "Repeated", "alike"]

Group = tuple[tuple["Network", ...], dict[str, Any]]
# Columns of what computes nothing. Where it is an argument of a user's dataset, the configurations differ.
_IDLE = {part for keys in (NOT_COMPUTED, *OF_KIND.values()) for key in keys for part in (key, key.rsplit(".", 1)[-1])}


@dataclass(frozen=True)
class Network:
    """A trained network: a replica of a run, and its seed where that is recorded."""

    run: str
    replica: int
    seed: int | None = None


@dataclass(frozen=True)
class Repeated:
    """A network that is left out, because `counted` has the same configuration and seed."""

    network: Network
    counted: Network


def alike(
    replicas: pd.DataFrame, infos: Mapping[str, dict[str, Any]], configs: Mapping[str, Values | None]
) -> tuple[list[Group], list[Repeated]]:
    """Networks that differ in nothing but the seed, with their values, and those that are there twice.

    `replicas` are the rows of `load_replicas`, `infos` what run.json says, `configs` what `computed` found. Two
    networks are alike where the configurations of their runs agree, and their values of what differs inside a run or
    does not stand in the configuration.
    A run whose configuration has an interpolation shares its settings with no other.
    Of the same network in two runs that of a finished run is counted, else the first. Networks of a setting stand in
    the order of their seeds, those of one run in the order of its replicas.
    """
    names = [name for name in replicas.columns if name not in ("run", "replica", "seed") and name not in _IDLE]
    listed = _listed(replicas, names)
    groups: dict[Any, dict[Network, dict[str, Any]]] = {}
    counted: dict[Any, Network] = {}
    repeated: list[Repeated] = []
    identities = {id(config): identity(config) for config in configs.values() if config is not None}
    open_ones = {key for key, of in identities.items() if any("${" in value for _, value in of)}
    for run in sorted(infos, key=lambda run: infos[run].get("status") != "done"):
        config = configs[run]
        # A value that was asked of the environment may be another in each run.
        common = ("run", run) if config is None or id(config) in open_ones else identities[id(config)]
        networks, values = listed.get(run) or _unlisted(run, infos[run], names)
        own = _own_names(networks, values, names, config)
        # Of a training that is not ours the configuration does not tell the data, and five may have one seed: only a
        # copy of the folder holds the same network.
        times = tuple(infos[run].get(key) for key in ("started", "finished", "wall_seconds"))
        training = times if infos[run].get(RECORDED_BY) else None
        for network, of_one in zip(networks, values, strict=True):
            alone = network.seed is None and config is not None  # nothing says that it is another network
            key = (common, run if alone else "", tuple((name, of_one[name]) for name in own))
            same = counted.setdefault((key, network.seed, training), network)
            if same.run != run:
                repeated.append(Repeated(network, same))
            else:
                groups.setdefault(key, {})[network] = {
                    name: value_of_replica(config, name, of_one) if value is None else value
                    for name, value in of_one.items()
                }
    order = {run: place for place, run in enumerate(infos)}
    return [
        _ordered(members, names, order) for members in sorted(groups.values(), key=lambda g: _first(g, order))
    ], repeated


def _own_names(
    networks: list[Network], values: list[dict[str, Any]], names: list[str], config: Values | None
) -> list[str]:
    """What networks of one configuration may differ in: what differs inside the run, or is not said by it."""
    moving = [name for name in names if len({of_one[name] for of_one in values}) > 1]
    fixed = [name for name in names if name not in moving and networks and values[0][name] is not None]
    return [*moving, *(name for name in fixed if config is None or not explains(config, name, values[0][name]))]


def _listed(replicas: pd.DataFrame, names: list[str]) -> dict[str, tuple[list[Network], list[dict[str, Any]]]]:
    """The networks of every run with `replicas.json` and their values, by the run's name."""
    found: dict[str, tuple[list[Network], list[dict[str, Any]]]] = {}
    columns = (replicas[name].tolist() for name in ("run", "replica", "seed"))
    for run, replica, seed, values in zip(*columns, known_values(replicas, names), strict=True):
        networks, rows = found.setdefault(str(run), ([], []))
        networks.append(Network(str(run), int(replica), None if pd.isna(seed) else int(seed)))
        rows.append(values)
    return found


def _unlisted(run: str, info: Mapping[str, Any], names: list[str]) -> tuple[list[Network], list[dict[str, Any]]]:
    """The networks of a run without `replicas.json`: as many as run.json says."""
    number = info.get("replicas") or 1
    seed = info.get("seed") if number == 1 else None
    return [Network(run, replica, seed) for replica in range(number)], [dict.fromkeys(names)] * number


def _first(members: Mapping[Network, Any], order: Mapping[str, int]) -> tuple[int, int]:
    return min((order[network.run], network.replica) for network in members)


def _ordered(members: Mapping[Network, dict[str, Any]], names: list[str], order: Mapping[str, int]) -> Group:
    networks = list(members)
    if len({network.run for network in networks}) > 1:
        networks.sort(key=lambda network: (network.seed or 0, order[network.run], network.replica))
    values = {name: next((v[name] for v in members.values() if v[name] is not None), None) for name in names}
    return tuple(networks), values
