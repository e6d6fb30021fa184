"""Chooses recorded values for a claim: one per replica, or one per replica and place on an axis."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ncbench.claims.selection import Condition, Selection
from ncbench.records.computed import computed, value_of_replica
from ncbench.records.layers import layer_key, rows_of_split
from ncbench.records.load import load_final, load_measures, load_references, load_spectra
from ncbench.records.run_info import frozen
from ncbench.records.runs import load_replicas, load_run_info
from ncbench.records.settings import repeated_networks
from ncbench.report.verdicts.describe import describe, describe_condition, describe_where
from ncbench.report.verdicts.layers import NotEnoughDataError, in_layers, joined, within

__all__ = ["NotEnoughDataError", "Sample"]

REPLICA = ["run", "replica"]
PLACE = [*REPLICA, "split", "layer", "stage", "source_layer"]
QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}
NO_LINES = ("spectra", "curve")  # many numbers under the name of a line
LINE = "line:"  # in front of a theory line's name: its value as if every replica had recorded it


class Sample:
    """Replicas of the runs of one experiment, and their values; `only` (run, replica) keeps some of them."""

    def __init__(self, runs: list[Path], only: pd.MultiIndex | None = None) -> None:
        self.runs, self.only = runs, only
        self.infos = load_run_info(runs)
        self.diverged = [(run, i) for run, info in self.infos.items() for i in frozen(info, "diverged")]
        self.replicas = self._replicas()
        self._folders = dict(zip(self.infos, runs, strict=True))
        self._loaded: dict[tuple[Any, ...], pd.DataFrame] = {}

    def only_where(self, condition: Condition) -> "Sample":
        """The same runs with the replicas that meet a condition; a value that is not finite meets none."""
        table = self.values(condition.selection)
        met = table[within(table["value"], condition.below, condition.above, condition.between)]
        part = Sample.__new__(Sample)
        part.__dict__.update(self.__dict__)  # what is loaded is shared
        part.only = _index(met)
        return part

    def values(self, selection: Selection, axis: str = "") -> pd.DataFrame:
        """Columns run, replica, value, parts (how many layers' values it joins), and `axis` where one is asked for.

        The axis is a column of the replicas, `layer` (the chosen ones, counted from 1) or `step`. A value is NaN
        where it is not finite: a diverged replica, or an undefined measure.
        """
        chosen = self._chosen(selection)
        theory = selection.measure.startswith(LINE)
        table = self._theory(selection, chosen) if theory else self._recorded(selection, chosen, axis)
        if selection.relative_to is not None:
            table["value"] /= self.lines(selection.relative_to, table)
        if selection.inside is not None:
            met = within(table["value"], between=selection.inside)
            table["value"] = met.astype(float).where(np.isfinite(table["value"]))
        if axis and "axis" not in table:
            table["axis"] = self.column(axis, table)
        return table

    def pairs(self, selection: Selection) -> list[dict[str, Any]]:
        """Quantiles over replicas for every layer and source layer; nothing where no layer has several of these."""
        if not selection.layers or selection.index is not None or selection.measure.startswith(LINE):
            return []
        frame = self._selected(selection, self._chosen(selection))
        series = ["run", "layer", "stage"]
        if not (frame.groupby(series, observed=True)["source_layer"].nunique() > 1).any():
            return []
        if selection.relative_to is not None:
            frame = frame.assign(value=frame["value"] / self.lines(selection.relative_to, frame))
        finite = frame[np.isfinite(frame["value"]) & ~_index(frame).isin(self.diverged)]
        quantiles = [
            {
                "layer": str(layer),
                "source": str(source),
                **dict(zip(QUANTILES, values.quantile([*QUANTILES.values()]), strict=True)),
            }
            for (layer, source), values in finite.groupby(["layer", "source_layer"], observed=True)["value"]
        ]
        return sorted(quantiles, key=lambda pair: (layer_key(pair["layer"]), layer_key(pair["source"])))

    def _theory(self, selection: Selection, chosen: pd.DataFrame) -> pd.DataFrame:
        """The theory line `line:NAME` of each replica, as if it had been recorded."""
        table = chosen[REPLICA].assign(parts=1)
        return table.assign(value=self.lines(selection.measure.removeprefix(LINE), table)).reset_index(drop=True)

    def _recorded(self, selection: Selection, chosen: pd.DataFrame, axis: str) -> pd.DataFrame:
        frame = self._selected(selection, chosen, every_step=axis == "step")
        by = [*REPLICA, *(["axis"] if axis in ("layer", "step") else [])]
        if axis == "layer":
            frame = frame.assign(axis=frame["place"])
        elif axis == "step":
            frame = frame.assign(axis=frame["step"])
        table = joined(frame, by, selection.reduce_layers)
        missing = chosen.loc[~_index(chosen).isin(_index(table)), "run"]
        if len(missing):
            raise NotEnoughDataError(f"{describe(selection)} is not recorded in run {missing.iloc[0]}")
        # A diverged replica was frozen at its last finite values, which are no result of the training.
        table.loc[_index(table).isin(self.diverged), "value"] = math.nan
        return table

    def _selected(self, selection: Selection, chosen: pd.DataFrame, every_step: bool = False) -> pd.DataFrame:
        """The rows of the chosen replicas, layers, stage and source, before any are joined."""
        frame = self._rows(selection, every_step)
        if selection.layers:
            runs = set(chosen["run"])
            folders = {run: path for run, path in self._folders.items() if run in runs}
            frame = in_layers(frame, selection, folders, describe(selection))
        frame = frame[_index(frame).isin(_index(chosen))]
        return self._over_first(frame, selection) if selection.relative_to_first else frame

    def _over_first(self, frame: pd.DataFrame, selection: Selection) -> pd.DataFrame:
        """The rows, each divided by its own value at the first measurement."""
        first = self._rows(selection.model_copy(update={"step": "first"}), every_step=False)
        place = [name for name in PLACE if name in frame]
        columns = dict.fromkeys(place, object)  # categories of two tables need not agree
        starts = first[[*place, "value"]].rename(columns={"value": "start"}).astype(columns)
        both = frame.astype(columns).merge(starts, on=place, how="left", indicator="found")
        lacking = both.loc[both["found"] != "both", "run"]
        if len(lacking):
            raise NotEnoughDataError(f"{describe(selection)}: no value at the first step of run {lacking.iloc[0]}")
        return both.assign(value=both["value"] / both["start"])

    def lines(self, name: str, table: pd.DataFrame, required: bool = True) -> pd.Series:
        """The theory line of that name of each row's replica; where none is `required` NaN for those without one."""
        references = load_references(self.runs)
        references = references[~references["measure"].isin(NO_LINES)]
        values: dict[tuple[str, int], float] = {}
        for row in references[references["name"] == name].to_dict("records"):
            run = str(row["run"])
            known = self.replicas.loc[self.replicas["run"] == run, "replica"]
            values |= {(run, int(who)): row["value"] for who in (row["replicas"] or known)}
        lines = pd.Series(
            [values.get(key, math.nan) for key in zip(table["run"], table["replica"], strict=True)], table.index
        )
        if required and lines.isna().any():
            where = table.loc[lines.isna(), "run"].iloc[0]
            raise NotEnoughDataError(f"the theory line {name} has no value for replicas of run {where}")
        return lines

    def _replicas(self) -> pd.DataFrame:
        frame = load_replicas(self.runs)
        frame["run"] = frame["run"].astype(str)
        listed = set(frame["run"])
        unlisted = [
            {"run": run, "replica": replica}
            for run, info in self.infos.items()
            if run not in listed
            for replica in range(info.get("replicas") or 0)
        ]
        if unlisted:
            frame = pd.DataFrame([*frame.to_dict("records"), *unlisted], columns=frame.columns)
        frame = self._filled(frame.astype({"replica": int}).drop_duplicates(REPLICA))
        # A network that two runs hold is one replica.
        twice = [(each.network.run, each.network.replica) for each in repeated_networks(self.runs)]
        return frame[~_index(frame).isin(twice)]

    def _filled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The replicas of all runs with what was swept in some of them: in the others it is what they computed with."""
        names = [name for name in frame.columns if name not in (*REPLICA, "seed") and frame[name].isna().any()]
        configs = computed(self.runs) if names else {}
        rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
        for name in names:
            known = [value_of_replica(configs.get(row["run"]), name, row) for row in rows]
            frame[name] = frame[name].where(frame[name].notna(), pd.Series(known, frame.index, dtype=object))
        return frame.infer_objects()

    def _chosen(self, selection: Selection) -> pd.DataFrame:
        """The replicas that `where`, `given` and `only` keep, of runs that are all done."""
        where, condition = selection.where, selection.given
        chosen = self.replicas
        for name, wanted in where.items():
            known = self.column(name, chosen)
            choices = wanted if isinstance(wanted, list | tuple) else [wanted]
            chosen = chosen[[any(_same(value, choice) for choice in choices) for value in known]]
        if chosen.empty:
            raise NotEnoughDataError(f"no replica{describe_where(where)}")
        listed = set(self.replicas["run"]) | {each.network.run for each in repeated_networks(self.runs)}
        for run, info in self.infos.items():
            if info.get("status") != "done" and (run in set(chosen["run"]) or run not in listed):
                error = str(info.get("error"))
                why = f" ({' '.join(error.split())})" if error.startswith("diverged: ") else ""
                raise NotEnoughDataError(f"run {run} is {info.get('status')}{why}, not done")
        if self.only is not None:
            chosen = chosen[_index(chosen).isin(self.only)]
        if condition is None:
            return chosen
        # Looked at in the chosen replicas alone: other runs need not have recorded it.
        met = self.only_where(condition.model_copy(update={"where": {**where, **condition.where}}))
        assert met.only is not None
        chosen = chosen[_index(chosen).isin(met.only)]
        if chosen.empty:
            raise NotEnoughDataError(f"no replica{describe_where(where)} meets {describe_condition(condition)}")
        return chosen

    def column(self, name: str, table: pd.DataFrame) -> pd.Series:
        """A replicated or swept value of each row's replica."""
        if name not in self.replicas or name in REPLICA:
            known = ", ".join(column for column in self.replicas.columns if column not in REPLICA)
            raise NotEnoughDataError(f"{name} is neither replicated nor swept in these runs (they have: {known})")
        return pd.Series(self.replicas.set_index(REPLICA)[name].reindex(_index(table)).to_numpy(), table.index)

    def _rows(self, selection: Selection, every_step: bool) -> pd.DataFrame:
        """The rows of the measure at the step asked for, of the chosen split; whole-network rows without layers."""
        steps: Any = None if every_step else selection.step
        layers = None if selection.layers else [""]
        key = (selection.measure, selection.index, steps, layers is None, selection.split)
        if key not in self._loaded:
            if selection.index is not None:
                frame = self._ratios(selection.index, steps)
            elif steps == "last":
                frame = load_final(self.runs, measures=selection.measure, layers=layers)
            else:
                frame = load_measures(self.runs, measures=selection.measure, layers=layers, steps=steps)
            if selection.index is None:  # spectra are of the training split only
                frame = frame[frame["split"].isin(rows_of_split(selection.split))]
            self._loaded[key] = frame.assign(run=frame["run"].astype(str))
        return self._loaded[key]

    def _ratios(self, index: int, steps: Any) -> pd.DataFrame:
        frame = load_spectra(self.runs, steps=steps, indices=[0, index - 1])
        place = ["run", "replica", "step", "layer", "stage"]
        first = frame[frame["index"] == 0].set_index(place)["singular_value"]
        chosen = frame[frame["index"] == index - 1].set_index(place)["singular_value"]
        return (chosen / first).rename("value").reset_index()


def _index(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[REPLICA])


def _same(value: Any, wanted: Any) -> bool:
    numbers = all(isinstance(x, int | float | np.number) and not isinstance(x, bool) for x in (value, wanted))
    return math.isclose(value, wanted, rel_tol=1e-9) if numbers else bool(value == wanted)
