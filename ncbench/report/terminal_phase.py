"""The terminal phase of training: from which epoch on the training error is zero.

It begins at the first measured epoch from which on the accuracy on the training data is at least 0.9999 at every
measurement up to the last (Papyan, Han & Donoho 2020: where the training error first vanishes). A network whose
accuracy falls below it again later begins anew.
"""

import numpy as np
import pandas as pd

from ncbench.records.layers import WHOLE_NETWORK, rows_of_split

__all__ = ["ZERO_ERROR", "terminal_starts"]

ZERO_ERROR = 0.9999  # accuracy from which on the error counts as zero: fewer than 1 of 10 000


def terminal_starts(frame: pd.DataFrame) -> pd.DataFrame:
    """Of every network the epoch at which its terminal phase begins: setting, network, epoch (NaN: not reached).

    `frame` holds recorded measures with their setting and network; rows of other measures than the training accuracy
    are left out. A network of which no accuracy is recorded has no row.
    """
    rows = frame[(frame["measure"] == "accuracy") & (frame["layer"] == WHOLE_NETWORK)]
    rows = rows[rows["split"].isin(rows_of_split())].sort_values("step")
    starts = [
        {"setting": setting, "network": network, "epoch": _start(of_network)}
        for (setting, network), of_network in rows.groupby(["setting", "network"], observed=True)
    ]
    return pd.DataFrame(starts, columns=["setting", "network", "epoch"])


def _start(rows: pd.DataFrame) -> float:
    """The first epoch of the last unbroken row of measurements without error."""
    below = np.flatnonzero(~(rows["value"].to_numpy(dtype=float) >= ZERO_ERROR))
    first = 0 if not len(below) else int(below[-1]) + 1
    epochs = rows["epoch"].to_numpy(dtype=float)
    return float(epochs[first]) if first < len(epochs) else float("nan")
