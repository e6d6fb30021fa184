"""Two runs side by side: how they were configured and made, when their weights part, and what both measured last.

Two networks that have to be the same are compared by `python -m ncbench.sweep rerun`, value by value; here two runs may
differ in anything but their layers. Of a run with several networks a value is the median over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ncbench.records.load import load_measures
from ncbench.records.runs import load_run_info, named_runs, without_diverged
from ncbench.records.schema import RUN_INFO, SWEEP
from ncbench.records.small_files import BadRecordsError
from ncbench.report.differences import Differing, of_configuration, of_making, of_weights
from ncbench.report.measures import known_measures

__all__ = ["RunComparison", "compare_runs", "two_runs"]

SERIES = ["layer", "stage", "source_layer", "split", "measure"]


@dataclass(frozen=True)
class RunComparison:
    """What `compare_runs` found; `text()` says it.

    Attributes:
        names: what the two runs are called, their paths below the closest common folder.
        configuration: (key, value of the first run, of the second) of every key in which their configurations differ,
            with the seed and the number of networks; keys that compute nothing (`ncbench.records.computed`) are left
            out. None where a run has no `config.yaml`.
        made: the same of versions, device, threads and commit, as `run.json` has them.
        parted: the first measured step at which the weights of both have a digest and it is not the same, or None.
        weights: one sentence on that.
        step: the last step that both have measured, None where there is none.
        values: one row per series that both recorded there: layer, stage, source_layer, split, measure, `first`,
            `second` (medians over the networks) and `difference`, the second minus the first.
        alone: the measures that only the first and that only the second run recorded there.
    """

    names: tuple[str, str]
    configuration: list[Differing] | None
    made: list[Differing]
    parted: int | None
    weights: str
    step: int | None
    values: pd.DataFrame
    alone: tuple[list[str], list[str]]

    @property
    def configured(self) -> str:
        """How many keys differ, in one sentence."""
        if self.configuration is None:
            return "the configurations are not both recorded"
        return _counted(self.configuration, "key", "of the configuration", "the configurations are the same")

    @property
    def made_by(self) -> str:
        """In how much versions and machine differ, in one sentence."""
        return _counted(self.made, "entry", "of versions and machine", "versions and machine are the same")

    @property
    def measured(self) -> str:
        """What the table of values holds, in one sentence."""
        if self.step is None:
            return "no step was measured in both"
        said = f"values at step {self.step}, the last that both measured (medians over networks)"
        for name, measures in zip(self.names, self.alone, strict=True):
            said += f"; only {name} recorded {', '.join(measures)}" if measures else ""
        return said

    def rows(self) -> list[list[str]]:
        """The table of values as text: layer, stage, split, measure, both values to six digits, their difference."""
        columns = ("layer", "stage", "split", "measure", "source_layer", "first", "second", "difference")
        return [
            [
                str(layer) or "network",
                str(stage),
                str(split),
                f"{measure} of {source}" if source else str(measure),
                f"{first:.6g}",
                f"{second:.6g}",
                f"{difference:+.3g}" if difference else "0",
            ]
            for layer, stage, split, measure, source, first, second, difference in zip(
                *(self.values[column] for column in columns), strict=True
            )
        ]

    def text(self) -> str:
        """The comparison for a terminal: what differs line by line, then the table of values."""
        first, second = self.names
        lines = list[str]()
        for said, rows in ((self.configured, self.configuration), (self.made_by, self.made)):
            lines += [said, *(_aligned([["", first, second], *map(list, rows)]) if rows else [])]
        lines += [f"weights: {self.weights}", self.measured]
        header = ["layer", "stage", "split", "measure", first, second, "difference"]
        return "\n".join([*lines, *(_aligned([header, *self.rows()]) if len(self.values) else [])])


def compare_runs(first: str | Path, second: str | Path) -> RunComparison:
    """The differences of two run folders in configuration, versions and machine, weights and final values.

    Raises BadRecordsError (a ValueError) where one is no run folder, both are the same, one has measured nothing, or
    they did not measure the same layers.
    """
    dir = two_runs([first, second])
    one, other = named_runs(dir)
    frame = without_diverged(load_measures(dir), load_run_info(dir))
    _same_layers(frame, (one, other))
    steps = [set(frame[frame["run"] == name]["step"]) for name in (one, other)]
    step = max(map(int, steps[0] & steps[1]), default=None)
    medians = [_medians(frame[(frame["run"] == name) & (frame["step"] == step)]) for name in (one, other)]
    values = medians[0].merge(medians[1], on=SERIES, suffixes=("first", "second"))
    values = values.rename(columns={"valuefirst": "first", "valuesecond": "second"})
    order = {name: place for place, name in enumerate(known_measures(dir, values["measure"]))}
    values["measure place"] = values["measure"].map(order)
    for column in ("layer", "stage"):
        values[f"{column} place"] = frame[column].cat.categories.get_indexer(pd.Index(values[column]))
    by = ["layer place", "stage place", "measure place", "split"]  # train before test
    values = values.sort_values(by, ascending=[True, True, True, False])
    values = values[[*SERIES, "first", "second"]].reset_index(drop=True)
    alone = [_alone(one, other) for one, other in (medians, medians[::-1])]
    parted, weights = of_weights(dir)
    return RunComparison(
        names=(one, other),
        configuration=of_configuration(dir),
        made=of_making(dir),
        parted=parted,
        weights=weights,
        step=step,
        values=values.assign(difference=values["second"] - values["first"]),
        alone=(alone[0], alone[1]),
    )


def _alone(found: pd.DataFrame, others: pd.DataFrame) -> list[str]:
    """The measures of which some series is not among the others; those of the test data are marked."""
    both = found.merge(others[SERIES], on=SERIES, how="left", indicator="of")
    only = both[both["of"] == "left_only"]
    told = zip(only["measure"], only["split"], strict=True)
    return sorted({f"{measure} (test)" if split == "test" else measure for measure, split in told})


def two_runs(dirs: Sequence[str | Path]) -> list[Path]:
    """The two run folders, checked. Raises BadRecordsError where there are not two, or one is none."""
    if len(dirs) != 2:
        raise BadRecordsError(
            f"two run folders are compared, not {len(dirs)} ({', '.join(map(str, dirs))}); the report of a folder "
            "compares all runs below it"
        )
    paths = [Path(dir) for dir in dirs]
    for path in paths:
        if not (path / RUN_INFO).is_file():
            why = f"there is no {RUN_INFO} in it" if Path(path).is_dir() else "it is no directory"
            of_sweep = "; of a sweep give two of its runs" if (Path(path) / SWEEP).is_file() else ""
            raise BadRecordsError(f"{path} is no run folder: {why}{of_sweep}")
    if paths[0].resolve() == paths[1].resolve():
        raise BadRecordsError(f"{paths[0]} and {paths[1]} are the same run folder")
    return paths


def _same_layers(frame: pd.DataFrame, names: tuple[str, str]) -> None:
    there = [set(frame[frame["run"] == name]["layer"]) for name in names]
    layers = [[layer for layer in frame["layer"].cat.categories if layer in found] for found in there]
    for name, found in zip(names, layers, strict=True):
        if not found:
            raise BadRecordsError(f"{name} has recorded no measures")
    only = [[layer for layer in found if layer and layer not in others] for found, others in (layers, layers[::-1])]
    told = [f"only {name} has {', '.join(found)}" for name, found in zip(names, only, strict=True) if found]
    if told:
        raise BadRecordsError(f"the layers of the two runs differ: {'; '.join(told)}")


def _medians(frame: pd.DataFrame) -> pd.DataFrame:
    """The median over the networks of every series of one run at one step."""
    frame = frame.astype(dict.fromkeys(SERIES, str))
    return frame.groupby(SERIES)["value"].median().reset_index()


def _counted(rows: Sequence[Differing], word: str, of: str, none: str) -> str:
    """How many of something differ.

    >>> _counted([("a", "1", "2")], "key", "of the configuration", "the same")
    '1 key of the configuration differs'
    """
    plural = {"key": "keys", "entry": "entries"}[word]
    return (f"1 {word} {of} differs" if len(rows) == 1 else f"{len(rows)} {plural} {of} differ") if rows else none


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, each column as wide as its longest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [f"  {line}".rstrip() for line in lines]
