"""Rows of the recorded tables that several figures and pages show: final losses, ranks, DNC1, the number of classes."""

import pandas as pd

from ncbench.records.load import load_final, load_spectra
from ncbench.records.runs import Dir, named_runs, read_yaml
from ncbench.report.settings import find_settings, load_setting_references, with_setting

__all__ = [
    "NoRecordsError",
    "final_loss",
    "intermediate",
    "intermediate_rank",
    "last_dnc1",
    "loss_over_dnc",
    "num_classes",
]


class NoRecordsError(ValueError):
    """The directory has runs, but none of the records that this figure shows."""


def final_loss(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the loss of every replica."""
    return frame[(frame["measure"] == "loss") & (frame["layer"] == "")]


def intermediate(frame: pd.DataFrame, measure: str, stage: str) -> pd.DataFrame:
    """Mean of a measure over head.1 ... head.L-1 at one stage, one row per setting and replica."""
    frame = frame[frame["measure"] == measure]
    number = pd.to_numeric(frame["layer"].astype(str).str.removeprefix("head."), errors="coerce")
    # L is counted over all stages: the output has no post-activation, the last hidden layer has.
    hidden = number < number.groupby(frame["setting"]).transform("max")
    rows = frame[hidden & (frame["stage"] == stage)]
    return rows.groupby(["setting", "replica"], observed=True)["value"].mean().reset_index()


def intermediate_rank(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of the pre-activation class means of head.1 ... head.L-1, one row per setting and replica."""
    return intermediate(frame, "rank", "pre")


def last_dnc1(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of DNC1 after the last activation: head.L-1, or `features` where L = 1."""
    rows = frame[(frame["measure"] == "dnc1") & (frame["stage"] == "post")]
    order = rows.assign(order=rows["layer"].cat.codes)
    return order[order["order"] == order.groupby("setting")["order"].transform("max")]


def loss_over_dnc(dir: Dir) -> pd.DataFrame:
    """Final loss over DNC loss of every replica: run, replica, setting, value.

    Raises NoRecordsError where no run has a DNC line.
    """
    settings = find_settings(dir)
    dnc = pd.Series(
        {code: lines["dnc"] for code, lines in enumerate(load_setting_references(dir, settings)) if "dnc" in lines}
    )
    frame = load_final(dir)
    frame = final_loss(with_setting(frame[frame["split"] != "test"], settings))
    frame = frame[frame["setting"].isin(dnc.index)]
    if frame.empty:
        raise NoRecordsError("no run with a DNC line")
    table = frame[["run", "replica", "setting"]].assign(value=frame["value"] / frame["setting"].map(dnc))
    return table.astype({"run": str})


def num_classes(dir: Dir) -> dict[str, int]:
    """K of every run that says it: `dataset.classes`, or as many as the class means have singular values."""
    known: dict[str, int] = {}
    for name, run in named_runs(dir).items():
        config = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else None
        dataset = config.get("dataset") if isinstance(config, dict) else None
        classes = dataset.get("classes") if isinstance(dataset, dict) else None
        if isinstance(classes, int):
            known[name] = classes
    means = load_spectra(dir, steps="last")
    means = means[means["stage"] != "weight"]
    for one, most in means.groupby("run", observed=True)["index"].max().items():
        known.setdefault(str(one), int(most) + 1)
    return known
