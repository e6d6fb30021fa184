"""`load_measures` for whoever types names: one that no run has recorded is refused, where a reader of the house that
looks for what may be there gets a table without rows.
"""

import pandas as pd

from ncbench.claims.parse import near
from ncbench.records import load
from ncbench.records.load import Names, load_final
from ncbench.records.runs import Dir, as_paths
from ncbench.records.small_files import BadRecordsError
from ncbench.records.tables import Steps

__all__ = ["load_measures"]


def load_measures(dir: Dir, measures: Names = None, layers: Names = None, steps: Steps = None) -> pd.DataFrame:
    """One row per recorded value of a measure.

    Columns: run, replica, seed, step, epoch, split, layer, stage, source_layer, measure, value.
    `measures` and `layers` keep the named ones (values of the whole network have layer ''); `steps` keeps
    the given steps, or with "first" or "last" that recorded step of every run. A run that has recorded nothing
    gives no row.

    Raises BadRecordsError for a measure or a layer that no run in `dir` has recorded, with the nearest one that they
    have; and as `find_runs` where there is no run.
    """
    asked = {"measure": _listed(measures), "layer": _listed(layers)}
    dir = as_paths(dir)
    frame = load.load_measures(dir, asked["measure"], asked["layer"], steps)
    for column, names in asked.items():
        there = set(frame[column])
        if all(name in there for name in names or ()):
            continue
        recorded = list(dict.fromkeys(map(str, load_final(dir)[column])))
        for name in names or ():
            if recorded and name not in recorded:
                raise BadRecordsError(f"{column}s={name}: no run here has recorded it {near(name, recorded)}")
    return frame


def _listed(names: Names) -> list[str] | None:
    return [names] if isinstance(names, str) else None if names is None else list(names)
