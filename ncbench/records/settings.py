"""Groups networks into settings: those that differ in nothing but the seed, in one run or in several.

Every median, quartile and share of the report is taken over a setting.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.cache import cached
from ncbench.records.computed import computed
from ncbench.records.load import load_replicas, load_run_info
from ncbench.records.naming import distinguish, labels_of, sort_key
from ncbench.records.runs import Dir
from ncbench.records.same_network import Network, Repeated, alike
from ncbench.records.small_files import BadRecordsError

__all__ = ["Setting", "find_settings", "load_networks", "only_where", "repeated_networks", "with_setting"]

_where: ContextVar[Mapping[str, Any]] = ContextVar("_where", default={})  # noqa: B039 - never changed in place


@dataclass(frozen=True)
class Setting:
    """Networks that differ in nothing but the seed; `values` are theirs of every quantity that varies in the directory.

    A network has a number in its setting, its place in `networks`: the column `network` of `with_setting`.
    """

    networks: tuple[Network, ...]
    values: dict[str, Any]
    label: str

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
    settings = [Setting(groups[place][0], rows[place], label) for place, label in zip(order, labels, strict=True)]
    return settings, repeated


def load_networks(dir: Dir) -> pd.DataFrame:
    """`load_replicas` of the networks of `find_settings`, with every value that tells their settings apart."""
    settings = find_settings(dir)
    rows = with_setting(load_replicas(dir), settings)
    for name in dict.fromkeys(name for setting in settings for name in setting.values):
        column = [settings[code].values.get(name) for code in rows["setting"]]
        if name != "run":  # the folder has its column
            rows[name] = pd.Series(column, rows.index).infer_objects()
    return rows.drop(columns=["setting", "network"])


def with_setting(frame: pd.DataFrame, settings: list[Setting]) -> pd.DataFrame:
    """The rows that belong to `settings`, with two more columns: `setting`, its place in that list, and `network`.

    The network is its place in `Setting.networks`: (setting, network) says what (run, replica) says.
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
    belonging: pd.DataFrame = frame.assign(setting=setting, network=network)[setting >= 0]
    return belonging
