"""Groups networks into settings: those that differ in nothing but the seed, in one run or in several.

Every median, quartile and share of the report is taken over a setting.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.cache import cached
from ncbench.records.computed import computed
from ncbench.records.load import load_replicas, load_run_info
from ncbench.records.naming import distinguish, labels_of, sort_key
from ncbench.records.run_info import frozen_from
from ncbench.records.runs import Dir
from ncbench.records.same_network import Network, Repeated, alike
from ncbench.records.small_files import BadRecordsError

__all__ = ["Setting", "find_settings", "load_networks", "only_where", "repeated_networks", "with_setting"]

_where: ContextVar[Mapping[str, Any]] = ContextVar("_where", default={})  # noqa: B039 - never changed in place


@dataclass(frozen=True)
class Setting:
    """Networks that differ in nothing but the seed; `values` are theirs of every quantity that varies in the directory.

    A network has a number in its setting, its place in `networks`: the column `network` of `with_setting`. `depth` is
    L, where the configuration has that of a head; `diverged` has the numbers of the networks that were frozen as such,
    and the step from which on what is recorded of each is where it stood before.
    """

    networks: tuple[Network, ...]
    values: dict[str, Any]
    label: str
    depth: int | None = None
    diverged: Mapping[int, int] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs of its networks, each once."""
        return tuple(dict.fromkeys(network.run for network in self.networks))

    @property
    def run(self) -> str:
        """The first of its runs: what the seed does not change is the same in all of them."""
        return self.networks[0].run

    def name_of(self, number: int) -> str:
        """What a reader calls the network of this number: its replica, or, where there are several runs, its seed."""
        network = self.networks[number]
        return f"replica {network.replica}" if len(self.runs) == 1 else f"seed {network.seed}"


def find_settings(dir: Dir) -> list[Setting]:
    """Settings of all runs in `dir` in the order of what varies; where nothing does, runs in order.

    Two networks are of one setting if all values of their `config.yaml` but the seed agree
    (`ncbench.records.computed`), and so do those of `replicas.json` that it does not determine. A run without
    `config.yaml` shares its settings with no other. A network that two runs hold, with one seed, is counted once
    (`repeated_networks`). What varies is named by `replicas.json`; where that does not tell two settings apart, by
    keys of the configuration, and by the run's folder where these do not either. Inside `only_where` only those
    settings are found.

    Raises BadRecordsError, a ValueError, where `where` names what does not vary, or values that no network has.
    """
    settings, _ = _grouped(dir)
    wanted = _where.get()
    known = list(dict.fromkeys(name for setting in settings for name in setting.values))
    for name in wanted:
        if name not in known:
            raise BadRecordsError(f"where={dict(wanted)!r} has to name what varies, one or several of {known}")
    found = [setting for setting in settings if all(setting.values.get(name) == wanted[name] for name in wanted)]
    if not found:
        raise BadRecordsError(f"where={dict(wanted)!r}: no network has these values")
    return found


@contextmanager
def only_where(values: Mapping[str, Any]) -> Iterator[None]:
    """Inside, `find_settings` finds the settings with these values alone."""
    token = _where.set(dict(values))
    try:
        yield
    finally:
        _where.reset(token)


def repeated_networks(dir: Dir) -> list[Repeated]:
    """The networks that count as the same network of another run, with the same configuration and seed."""
    return _grouped(dir)[1]


@cached
def _grouped(dir: Dir) -> tuple[list[Setting], list[Repeated]]:
    infos, configs = load_run_info(dir), computed(dir)
    groups, repeated = alike(load_replicas(dir), infos, configs)
    rows = distinguish([values for _, values in groups], [networks[0].run for networks, _ in groups], configs)
    order = sorted(range(len(groups)), key=lambda place: [sort_key(value) for value in rows[place].values()])
    first = [groups[place][0][0].run for place in order]
    labels = labels_of([rows[place] for place in order], first, infos)
    lost = {run: frozen_from(info, "diverged") for run, info in infos.items()}
    settings = []
    for place, label in zip(order, labels, strict=True):
        networks = groups[place][0]
        config = configs[networks[0].run] or {}
        # Of a whole network `depth` may be an argument of its own.
        depth = None if config.get("model.kind") == "network" else config.get("model.depth")
        at = {number: lost[network.run].get(network.replica) for number, network in enumerate(networks)}
        diverged = {number: step for number, step in at.items() if step is not None}
        known = depth if isinstance(depth, int) else None
        settings.append(Setting(networks, rows[place], label, known, diverged))
    return settings, repeated


def load_networks(dir: Dir) -> pd.DataFrame:
    """`load_replicas` of the networks of `find_settings`, with every value that tells their settings apart."""
    settings = find_settings(dir)
    rows = with_setting(load_replicas(dir), settings)
    for name in dict.fromkeys(name for setting in settings for name in setting.values):
        column = [settings[code].values.get(name) for code in rows["setting"]]
        if name != "run":  # the folder has its column
            rows[name] = pd.Series(column, rows.index).infer_objects()
    return rows.drop(columns=["setting", "network", "head_depth"])


def with_setting(frame: pd.DataFrame, settings: list[Setting]) -> pd.DataFrame:
    """The rows that belong to `settings`, with `setting`, its place in that list, `network` and `head_depth` beside.

    The network is its place in `Setting.networks`: (setting, network) says what (run, replica) says. The depth is that
    of the setting, NaN where it is not known. Values and singular values of a network that diverged are NaN from there
    on: it was frozen at its last finite ones, which are no result of training.
    """
    runs = {run: place for place, run in enumerate(frame["run"].cat.categories)}
    of_networks = [
        (runs[network.run], network.replica, code, number)
        for code, setting in enumerate(settings)
        for number, network in enumerate(setting.networks)
        if network.run in runs
    ]
    most = 1 + max([replica for _, replica, _, _ in of_networks] + [int(frame["replica"].max()) if len(frame) else 0])
    table = np.full((2, len(runs), most), -1, dtype=np.int32)
    if of_networks:
        places, replicas, codes, numbers = np.array(of_networks).T
        table[:, places, replicas] = codes, numbers
    setting, network = table[:, frame["run"].cat.codes.to_numpy(), frame["replica"].to_numpy()]
    depths = np.array([np.nan if one.depth is None else one.depth for one in settings] + [np.nan])  # [-1]: no setting
    belonging: pd.DataFrame = frame.assign(setting=setting, network=network, head_depth=depths[setting])[setting >= 0]
    lost = {(code, number): step for code, one in enumerate(settings) for number, step in one.diverged.items()}
    columns = [name for name in ("value", "singular_value") if name in belonging]
    if lost and columns and "step" in belonging:
        networks = zip(belonging["setting"], belonging["network"], strict=True)
        from_step = np.array([lost.get(key, np.inf) for key in networks], dtype=float)
        for name in columns:
            belonging[name] = belonging[name].mask(belonging["step"].to_numpy() >= from_step)
    return belonging
