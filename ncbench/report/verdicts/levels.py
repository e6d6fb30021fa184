"""Checks of claims on the theory's levels: at which of them replicas end, and where one selection crosses a number."""

import math
from typing import Any

import numpy as np
import pandas as pd

from ncbench.claims.types import Crossing, ShareAtLevels
from ncbench.records.load import load_references
from ncbench.report.end_states import STATES, classify, counted
from ncbench.report.statistics import crossings
from ncbench.report.verdicts.decide import Decision, decide, failing_share, judges, not_finite, replicas
from ncbench.report.verdicts.selection import NotEnoughDataError, Sample

__all__ = ["crossing", "share_at_levels"]

MOST_LISTED = 12


@judges(ShareAtLevels)
def share_at_levels(claim: ShareAtLevels, sample: Sample) -> Decision:
    """Share of replicas that have ended at a level; the others are listed with their loss and their gradient."""
    table = sample.values(claim.selection)
    gradients = sample.values(claim.selection.model_copy(update={"measure": "grad_max", "given": None}))
    gradient = table[["run", "replica"]].merge(gradients, on=["run", "replica"], how="left")["value"].to_numpy()
    unknown = [name for name in claim.levels if name not in set(load_references(sample.runs)["name"])]
    if unknown:
        raise NotEnoughDataError(f"no theory line {unknown[0]} is recorded")
    levels = pd.DataFrame({name: sample.lines(name, table, required=False) for name in claim.levels})
    states = pd.Series(index=table.index, dtype=object)
    bounds = {"absolute": claim.absolute, "stationary": claim.stationary}
    for _, rows in levels.groupby(list(claim.levels), dropna=False):  # replicas of the same levels together
        places = table.index.get_indexer(rows.index)
        known = {str(name): float(line) for name, line in rows.iloc[0].items()}
        states[rows.index] = classify(list(table["value"].iloc[places]), list(gradient[places]), known, **bounds)
    counts = counted(states, claim.levels)
    others = [
        {"run": row["run"], "replica": int(row["replica"]), "state": state, "loss": row["value"], "gradient": float(g)}
        for row, state, g in zip(table.to_dict("records"), states, gradient, strict=True)
        if state in STATES
    ]
    decision = failing_share(
        claim.at_least, claim.by, ~states.isin(STATES), table, {"states": counts, "others": others}
    )
    text = "; " + ", ".join(f"{name} {number}" for name, number in counts.items())
    listed = [f"{row['loss']:.6f} (gradient {row['gradient']:.1e})" for row in others[:MOST_LISTED]]
    more = [f"{len(others) - MOST_LISTED} more"] if len(others) > MOST_LISTED else []
    text += f"; at no level: {', '.join([*listed, *more])}" if others else ""
    return Decision(decision.holds, decision.measured + text, decision.size, decision.evidence, decision.reason)


@judges(Crossing)
def crossing(claim: Crossing, sample: Sample) -> Decision:
    """The place where the medians cross the threshold, by a straight line between neighbours, near the claimed one.

    It fails where they cross it more than once, or never.
    """
    table = sample.values(claim.selection, claim.axis)
    if not pd.api.types.is_numeric_dtype(table["axis"]) or (table["axis"].isna() | (table["axis"] <= 0)).any():
        raise NotEnoughDataError(f"axis={claim.axis} is not a positive number for every replica")
    medians = table[np.isfinite(table["value"])].groupby("axis")["value"].median()
    if len(medians) < 2:
        raise NotEnoughDataError(f"axis={claim.axis} has {len(medians)} places with finite values, 2 are needed")
    found = crossings(list(medians.index), list(medians), claim.threshold)
    evidence: dict[str, Any] = {"crossings": found, "places": len(medians), **not_finite(table)}
    shown = ", ".join(f"{place:.5g}" for place in found) or "nowhere"
    text = f"crosses {claim.threshold:g} along {claim.axis} at {shown}"
    text += f", {100 * abs(found[0] / claim.value - 1):.2f} % from {claim.value:g}" if len(found) == 1 else ""
    text += f"; {replicas(len(table))}, {len(medians)} places"
    allowed = (claim.value * (1 - claim.tolerance), claim.value * (1 + claim.tolerance))
    estimate = found[0] if len(found) == 1 else math.inf
    return decide("estimate", text, len(table), estimate, None, allowed, {**evidence, "allowed": allowed})
