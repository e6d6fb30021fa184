"""Rows of the recorded tables that several figures and pages show: final losses, ranks, DNC1, the number of classes."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ncbench.records.layers import WHOLE_NETWORK, head_number, input_of, last_hidden_layer, layer_key, layers_between
from ncbench.records.load import load_spectra
from ncbench.records.proven_files import proven_yaml
from ncbench.records.runs import Dir, UndefinedError, named_runs
from ncbench.records.schema import CONFIG

__all__ = [
    "classifier_values",
    "final_loss",
    "head_depths",
    "intermediate_rank",
    "last_dnc1",
    "mean_over_layers",
    "num_classes",
    "output_rows",
    "require_finite",
]


def require_finite(values: Iterable[float], what: str) -> None:
    """Raises UndefinedError where none of the recorded values of `what` is finite."""
    if not np.isfinite(np.asarray(values, dtype=float)).any():
        raise UndefinedError(f"{what} is recorded, but none of its values is finite")


def final_loss(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the loss of every replica."""
    return frame[(frame["measure"] == "loss") & (frame["layer"] == WHOLE_NETWORK)]


def classifier_values(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of NC1 to NC4 at the classifier and its input, by the name of each; of training data but for NC4's own.

    The classifier is the last layer, in the order of layers, of which NC3 is recorded: as in `figure.neural_collapse`.
    Empty where there is none.
    """
    duality = frame[frame["measure"] == "self_duality"]
    if duality.empty:
        return {}
    classifier = sorted(map(str, duality["layer"].unique()), key=layer_key)[-1]
    of_input = frame[(frame["layer"] == input_of(classifier)) & (frame["stage"] == "post")]
    return {
        "NC1": of_input[of_input["measure"] == "nc1"],
        "NC2, norms": of_input[of_input["measure"] == "equinorm"],
        "NC2, angles": of_input[of_input["measure"] == "equiangularity"],
        "NC3": duality[duality["layer"] == classifier],
        "NC4": of_input[of_input["measure"] == "ncc_mismatch"],
    }


def head_depths(frame: pd.DataFrame) -> "pd.Series[float]":
    """L of every row's setting: of the configuration, or the last layer of the head that anything is recorded of.

    NaN where there is no head.
    """
    numbers = [head_number(str(layer)) for layer in frame["layer"].cat.categories]
    of_codes = np.array([np.nan if number is None else number for number in numbers])
    of_rows = pd.Series(of_codes[frame["layer"].cat.codes.to_numpy()], frame.index)
    return frame["head_depth"].fillna(of_rows.groupby(frame["setting"]).transform("max"))


def output_rows(frame: pd.DataFrame, measure: str, stage: str = "pre") -> pd.DataFrame:
    """Rows of a measure of head.L, the network's output, at its one stage `pre` (or of its `weight`)."""
    numbers = {layer: head_number(str(layer)) for layer in frame["layer"].cat.categories}
    last = frame["layer"].map(numbers).astype(float) == head_depths(frame)
    return frame[last & (frame["measure"] == measure) & (frame["stage"] == stage)]


def mean_over_layers(
    frame: pd.DataFrame,
    measure: str,
    stage: str,
    word: str = "intermediate",
    by: Sequence[str] = ("setting", "network"),
) -> pd.DataFrame:
    """Mean of a measure at one stage over the layers that a word of `records.layers` names, one row per group of `by`.

    L is counted over all rows of the setting: the output has no post-activation, the last hidden layer has.
    """
    depths = head_depths(frame)
    chosen = pd.Series(False, frame.index)
    for L in depths.dropna().unique():
        chosen |= (depths == L) & frame["layer"].isin(layers_between(word, int(L)))
    rows = frame[chosen & (frame["measure"] == measure) & (frame["stage"] == stage)]
    return rows.groupby(list(by), observed=True)["value"].mean().reset_index()


def intermediate_rank(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of the pre-activation class means of head.1 ... head.L-1, one row per setting and replica."""
    return mean_over_layers(frame, "rank", "pre")


def last_dnc1(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of DNC1 after the last activation: head.L-1, or `features` where L = 1; without a head of the last layer."""
    rows = frame[(frame["measure"] == "dnc1") & (frame["stage"] == "post")]
    rows = rows.assign(order=rows["layer"].cat.codes)
    last = rows["order"] == rows.groupby("setting")["order"].transform("max")
    depths = head_depths(frame)[rows.index]
    hidden = depths.map({L: last_hidden_layer(int(L)) for L in depths.dropna().unique()})
    return rows[last.where(depths.isna(), rows["layer"].astype(str) == hidden)]


def num_classes(dir: Dir) -> dict[str, int]:
    """K of every run that says it: `dataset.classes`, or as many as the class means have singular values."""
    known: dict[str, int] = {}
    for name, run in named_runs(dir).items():
        config = proven_yaml(run, CONFIG)
        dataset = config.get("dataset") if isinstance(config, dict) else None
        classes = dataset.get("classes") if isinstance(dataset, dict) else None
        if isinstance(classes, int):
            known[name] = classes
    means = load_spectra(dir, steps="last")
    means = means[means["stage"] != "weight"]
    for run_name, most in means.groupby("run", observed=True)["index"].max().items():
        known.setdefault(str(run_name), int(most) + 1)
    return known
