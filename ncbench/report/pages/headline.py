"""The numbers of the page: final values beside the theory lines, a table per layer, and what the measures are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ncbench.records.layers import WHOLE_NETWORK, rows_of_split
from ncbench.records.load import load_final
from ncbench.records.runs import Dir
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.measures import MeasureInfo, known_measures
from ncbench.report.selectors import classifier_values, final_loss, intermediate_rank, last_dnc1
from ncbench.report.settings import interval_reach, load_setting_references, quartiles

MOST_LAYER_TABLES = 6
SPLITS = ["train", "test", ""]  # in the order of the tables
NC = ("NC1", "NC2, norms", "NC2, angles", "NC3", "NC4")
_MEDIANS = "Final values: median over replicas, lower and upper quartile in brackets where they differ."
_MEANS = "Final values: mean over replicas, in brackets its 95 % interval after Student where there are several."


@dataclass(frozen=True)
class Table:
    """A table of text: column names, rows, and a caption."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""


def headline(dir: Dir, means: bool = False) -> Table:
    """One row per setting: final loss against the theory lines, accuracies, rank of hidden layers, DNC1, NC1 to NC4.

    Medians with quartiles, or with `means` the means with their intervals of 95 % (`settings.interval_reach`).
    """
    entry, said = (mean_spread, _MEANS) if means else (spread, _MEDIANS)
    settings = find_settings(dir)
    final = with_setting(load_final(dir), settings)
    train = final[final["split"].isin(rows_of_split())]
    references = load_setting_references(dir, settings)
    lines = list(dict.fromkeys(name for known in references for name in known))
    header = ["", "replicas", "step", "final loss", "lowest loss"]
    for name in lines:
        header += [name.upper(), f"below {name.upper()}"]
    header += ["accuracy", "test accuracy", "rank, intermediate layers", "DNC1, last hidden layer", *NC]
    rows = []
    for code, setting in enumerate(settings):
        of_train, of_all = (frame[frame["setting"] == code] for frame in (train, final))
        losses = final_loss(of_train)["value"].dropna()
        last_step = str(of_train["step"].max()) if len(of_train) else "none recorded"
        row = [setting.label, str(len(setting.networks)), last_step]
        row += [
            entry(losses, 6) + of_how_many(final_loss(of_train)["value"]),
            f"{losses.min():.6g}" if len(losses) else "",
        ]
        for name in lines:
            value = references[code].get(name)
            known = value is not None and len(losses) > 0
            row += ["" if value is None else f"{value:.7g}"]
            row += [f"{int((losses < value).sum())} of {len(losses)}" if known else ""]
        accuracy = of_all[of_all["measure"] == "accuracy"]
        nc = classifier_values(of_train)
        columns = [
            *(accuracy[accuracy["split"] == split]["value"] for split in ("train", "test")),
            intermediate_rank(of_train)["value"],
            last_dnc1(of_train)["value"],
            *(nc[name]["value"] if name in nc else pd.Series(dtype=float) for name in NC),
        ]
        rows.append([*row, *(entry(values) + of_how_many(values) for values in columns)])
    return without_empty_columns(Table(header, rows, said))


def of_how_many(values: "pd.Series[float]") -> str:
    """What is said where some or all of the values are NaN, as those of networks that diverged: else nothing.

    >>> of_how_many(pd.Series([1.0, np.nan, np.nan])), of_how_many(pd.Series([np.nan])), of_how_many(pd.Series([1.0]))
    (' (1 of 3, the others NaN)', 'NaN', '')
    """
    known = int(values.notna().sum())
    if known == len(values):
        return ""
    return f" ({known} of {len(values)}, the others NaN)" if known else "NaN"


def spread(values: "pd.Series[float]", digits: int = 4) -> str:
    """Median and quartiles as text; the median alone where they agree.

    >>> spread(pd.Series([1.0, 2.0, 3.0]))
    '2 [1.5, 2.5]'
    >>> spread(pd.Series([1.0, 2.0, float("inf")]))
    '2 [1.5, inf]'
    """
    values = values.dropna()
    if values.empty:
        return ""
    table = quartiles(pd.DataFrame({"all": 0, "value": values}), ["all"])
    low, median, high = (f"{table[name].item():.{digits}g}" for name in ("q25", "median", "q75"))
    return median if low == high else f"{median} [{low}, {high}]"


def mean_spread(values: "pd.Series[float]", digits: int = 4) -> str:
    """Mean and its interval of 95 % as text; the mean alone of one value.

    >>> mean_spread(pd.Series([1.0, 2.0, 3.0]))  # 2 -+ 4.3027 / sqrt(3)
    '2 [-0.4841, 4.484]'
    """
    values = values.dropna()
    if values.empty:
        return ""
    mean, reach = values.mean(), interval_reach(np.array([values.std()]), np.array([len(values)]))[0]
    text = f"{mean:.{digits}g}"
    return text if np.isnan(reach) else f"{text} [{mean - reach:.{digits}g}, {mean + reach:.{digits}g}]"


def layer_tables(dir: Dir) -> list[Table]:
    """For each of the first six settings the final measures of every layer and stage.

    A column for every measure that is recorded per layer, in the order of the table of measures; those with a value for
    each of several source layers have no place in it. Where the test split is recorded, it stands below the training
    split of the same layer.
    """
    settings = find_settings(dir)
    frame = with_setting(load_final(dir), settings)
    frame = frame[(frame["layer"] != WHOLE_NETWORK) & frame["split"].isin(SPLITS)]
    frame = frame[~frame["measure"].isin(_of_several_sources(frame))]
    frame["split"] = frame["split"].cat.set_categories(SPLITS, ordered=True)
    values = quartiles(frame, ["setting", "layer", "stage", "split", "measure"])
    columns = list(known_measures(dir, values["measure"]).values())
    return [
        _layer_table(values[values["setting"] == code], settings[code], columns)
        for code in sorted(values["setting"].unique())[:MOST_LAYER_TABLES]
    ]


def _of_several_sources(frame: pd.DataFrame) -> set[str]:
    """The measures of which some layer has a value for each of several source layers."""
    sources = frame.groupby(["layer", "stage", "split", "measure"], observed=True)["source_layer"].nunique()
    return set(sources[sources > 1].index.get_level_values("measure"))


def measure_table(dir: Dir) -> Table:
    """What the measures of this page are: name, label, unit, scale of their axes, and where they are defined."""
    rows = [
        [info.name, info.label, info.unit or "none", info.scale or "from the values", info.defined]
        for info in known_measures(dir, load_final(dir)["measure"]).values()
    ]
    return without_empty_columns(Table(["name", "label", "unit", "scale", "defined in"], rows))


def _layer_table(values: pd.DataFrame, setting: Setting, columns: list[MeasureInfo]) -> Table:
    rows = []
    with_test = "test" in set(values["split"])
    for (layer, stage, split), part in values.groupby(["layer", "stage", "split"], observed=True):
        entries = part.set_index("measure")
        of = str(split) if with_test else ""
        rows.append([str(layer), str(stage), of, *(_entry(entries, info.name) for info in columns)])
    header = ["layer", "stage", "split", *(info.heading for info in columns)]
    return without_empty_columns(Table(header, rows, setting.label))


def _entry(entries: pd.DataFrame, name: str) -> str:
    if name not in entries.index or not entries.loc[name, "replicas"]:
        return ""
    row = entries.loc[name]
    median, low, high = (f"{row[column]:.3g}" for column in ("median", "q25", "q75"))
    return median if low == high else f"{median} [{low}, {high}]"


def without_empty_columns(table: Table) -> Table:
    """The table without the columns, but the first, in which no row has an entry."""
    columns = [i for i in range(len(table.header)) if i == 0 or any(row[i] for row in table.rows)]
    rows = [[row[i] for i in columns] for row in table.rows]
    return Table([table.header[i] for i in columns], rows, table.caption)
