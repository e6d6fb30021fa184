"""Figure of the Gram matrices of all samples: constant on every pair of classes after collapse."""

from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_final, load_measures, load_sample_grams
from ncbench.records.runs import Dir, NoRecordsError, UndefinedError
from ncbench.records.same_network import Network
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, Values, panels, spread, styled
from ncbench.report.selectors import final_loss, num_classes


@styled
def blocks(dir: Dir) -> Plot:
    """Gram matrices Z^l (Z^l)^T of all samples, sorted by class, per layer at the first and the last step.

    Of the replica with the lowest final loss of all. Each matrix is divided by its largest absolute entry; lines are
    the borders of the classes, where the number of classes is known and they are equally large. The number in a title
    is the rms deviation from block means over the standard deviation of the entries (`gram_block`), where recorded. At
    most six layers, evenly spread from the first to the last.
    """
    settings = find_settings(dir)
    first, last = (with_setting(load_sample_grams(dir, steps=at), settings) for at in ("first", "last"))
    if last.empty:
        raise NoRecordsError("no Gram matrices of samples recorded")
    code, number = _best(last, final_loss(with_setting(load_final(dir), settings)))
    of_replica = [frame[(frame["setting"] == code) & (frame["network"] == number)] for frame in (first, last)]
    steps = {int(frame["step"].iloc[0]): frame for frame in of_replica if len(frame)}
    if not all(np.isfinite(gram).all() for gram in of_replica[-1]["gram"]):
        raise UndefinedError(f"the Gram matrices of the samples of {settings[code].name_of(number)} are not finite")
    layers = spread([layer for layer in last["layer"].cat.categories if (of_replica[-1]["layer"] == layer).any()])
    deviations = _deviations(dir, settings[code].networks[number])
    classes = num_classes(dir).get(settings[code].run)
    figure, axes = panels(len(steps), len(layers), 1.75, 1.95)
    image: Any = None
    for row, (step, frame) in zip(axes, steps.items(), strict=True):
        for ax, layer in zip(row, layers, strict=True):
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
            of_layer = frame[frame["layer"] == layer]
            ax.spines[:].set_visible(len(of_layer) > 0)
            if of_layer.empty:
                continue
            stage, gram = of_layer[["stage", "gram"]].iloc[-1]
            image = ax.imshow(normalised(gram), interpolation="nearest", cmap="RdBu_r", vmin=-1, vmax=1)
            for border in _borders(len(gram), classes):
                ax.axhline(border, color="black", lw=0.4)
                ax.axvline(border, color="black", lw=0.4)
            deviation = deviations.get((step, layer, stage))
            ax.set_title(literal(layer) + ("" if deviation is None else f"\ndeviation {deviation:.2g}"), fontsize=8)
        row[0].set_ylabel(f"step {step}", fontsize=8)
    figure.colorbar(image, ax=axes, label="entry / largest entry", shrink=0.8, aspect=20)
    figure.suptitle(f"{wrapped(settings[code].label, 90)}, {settings[code].name_of(number)}", fontsize=9)
    return figure


def normalised(gram: Values) -> Values:
    """A matrix over its largest absolute entry; a zero matrix stays zero.

    >>> normalised(np.array([[4.0, -2.0], [-2.0, 1.0]])).tolist()
    [[1.0, -0.5], [-0.5, 0.25]]
    """
    return gram / (float(np.abs(gram).max()) or 1.0)


def _best(frame: pd.DataFrame, losses: pd.DataFrame) -> tuple[int, int]:
    """Setting and network of the lowest final loss among those with matrices; the first without losses."""
    drawable = frame[["setting", "network"]].drop_duplicates()
    ranked = drawable.merge(losses[["setting", "network", "value"]], on=["setting", "network"], how="left")
    first = ranked.sort_values("value", kind="stable").iloc[0]
    return int(first["setting"]), int(first["network"])


def _deviations(dir: Dir, network: Network) -> dict[tuple[int, str, str], float]:
    """`gram_block` by step, layer and stage."""
    frame = load_measures(dir, measures="gram_block")
    frame = frame[
        (frame["run"] == network.run) & (frame["replica"] == network.replica) & frame["split"].isin(rows_of_split())
    ]
    columns = (frame[name] for name in ("step", "layer", "stage", "value"))
    rows = zip(*columns, strict=True)
    return {(int(step), str(layer), str(stage)): float(value) for step, layer, stage, value in rows}


def _borders(size: int, classes: int | None) -> list[float]:
    """Where a class ends: between the last of its samples and the first of the next class."""
    if not classes or size % classes:
        return []
    return [size // classes * k - 0.5 for k in range(1, classes)]
