"""The atlas drawn as a map and told in a page, from the package's table."""

import math
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from ncbench.report.figures.style import VERMILLION, Plot, panels, styled, to_light_png
from ncbench.theory.atlas_table.entries import FOLDER, AtlasEntry, Loss, entries

DPI = 110


def draw(folder: Path) -> None:
    """Write atlas_ce.png, atlas_mse.png, ce.csv, mse.csv and README.md into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[Loss, list[AtlasEntry]] = {loss: list(entries(loss).values()) for loss in TITLES}
    for loss, chosen in found.items():
        (folder / f"atlas_{loss}.png").write_bytes(to_light_png(atlas_map(chosen), DPI))
        shutil.copyfile(FOLDER / f"{loss}.csv", folder / f"atlas_{loss}.csv")
    (folder / "README.md").write_text(page(found))


@styled
def atlas_map(chosen: Sequence[AtlasEntry]) -> Plot:
    """K across, L up, one panel per decay: the best known loss over that of DNC as colour, its rank as number.

    A frame marks what lies below every closed form (thick: below the tabulated value), hatching what one method found.
    """
    decays = sorted({entry.decay for entry in chosen}, reverse=True)
    columns = min(3, len(decays))
    figure, axes = panels(-(-len(decays) // columns), columns, *((4.4, 2.9) if len(decays) > 1 else (8.0, 3.4)))
    image: Any = None
    for ax, decay in zip(axes.flat, decays, strict=False):
        part = [entry for entry in chosen if entry.decay == decay]
        classes, depths = ([getattr(e, name) for e in part] for name in ("num_classes", "depth"))
        grid = np.full((max(depths) + 1, max(classes) + 1), math.nan)
        for entry in part:
            grid[entry.depth, entry.num_classes] = entry.loss / entry.dnc
            _mark(ax, entry)
        image = ax.imshow(grid, cmap="viridis", vmin=0.4, vmax=1.0, origin="lower", aspect="auto")
        ax.set(xlim=(min(classes) - 0.5, max(classes) + 0.5), ylim=(min(depths) - 0.5, max(depths) + 0.5))
        ax.set(xlabel="classes K", ylabel="depth L", title=rf"$\Lambda$ = {decay:g}" if len(decays) > 1 else "")
        ax.set_xticks(sorted(set(classes)))
        ax.set_yticks(sorted(set(depths)))
        ax.grid(False)
    for ax in axes.flat[len(decays) :]:
        ax.set_axis_off()
    figure.colorbar(image, ax=axes, label="best known loss / loss of DNC", shrink=0.8)
    return figure


def _mark(ax: Any, entry: AtlasEntry) -> None:
    corner = (entry.num_classes - 0.5, entry.depth - 0.5)
    light = entry.loss / entry.dnc < 0.8
    style = {"ha": "center", "va": "center", "fontsize": 7, "color": "w" if light else "k"}
    ax.text(entry.num_classes, entry.depth, str(entry.rank), **style)
    if not entry.confirmed:
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", lw=0, ec="w" if light else "0.4"))
    if entry.below_closed_forms:
        width = 2.4 if entry.beats_table else 0.9
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, lw=width, ec=VERMILLION))


def page(found: dict[Loss, list[AtlasEntry]]) -> str:
    """README.md of the record."""
    parts = [HEAD]
    for loss, title in TITLES.items():
        chosen = found[loss]
        parts.append(f"## {title}\n\n{_counts(chosen)}\n\n![{title}: map of the best known losses](atlas_{loss}.png)\n")
        best = sorted((e for e in chosen if e.beats_table), key=lambda e: e.loss / e.tabulated)
        if best:
            rows = [f"| {e.num_classes} | {e.depth} | {e.decay:g} | {e.loss:.10f} | {e.tabulated:.8f} |" for e in best]
            head = ["Below the value known before:", "", "| K | L | decay | loss | before |", "|---|---|---|---|---|"]
            parts.append("\n".join([*head, *rows, ""]))
    return "\n".join([*parts, TAIL])


def _counts(chosen: Sequence[AtlasEntry]) -> str:
    confirmed = [entry for entry in chosen if entry.confirmed]
    methods = Counter(entry.method for entry in chosen if not entry.confirmed)
    alone = ", ".join(f"{count} by {method}" for method, count in sorted(methods.items()))
    geometries = Counter(re.sub(r"\\[.*?\\]", "blocks", entry.geometry) for entry in chosen)
    names = ", ".join(f"{name} {count}" for name, count in geometries.most_common())
    known = sum(not math.isnan(entry.tabulated) for entry in chosen)
    pairs = len({(entry.num_classes, entry.depth) for entry in chosen})
    hours = sum(entry.seconds for entry in chosen) / 3600
    return (
        f"{len(chosen)} entries at {pairs} pairs (K, L). {len(confirmed)} are confirmed (both methods agree to 1e-6), "
        f"{len(chosen) - len(confirmed)} were found by one method only{f' ({alone})' if alone else ''}. "
        f"{sum(entry.below_closed_forms for entry in chosen)} lie below every closed form, "
        f"{sum(entry.loss > entry.closed * (1 + 1e-9) for entry in chosen)} above one; "
        f"{sum(entry.beats_table for entry in chosen)} of the {known} with a tabulated value lie below it. "
        f"Geometries: {names}. Search: {hours:.1f} hours of one process on a shared two-core AMD EPYC."
    )


TITLES: dict[Loss, str] = {"ce": "Cross-entropy, linear layers", "mse": "Mean squared error, ReLU"}
HEAD = """# Atlas of the deep unconstrained features model

The lowest loss known of every problem (K classes, L weight matrices, decay), with the matrices that attain it. Every
value is an upper bound on the global minimum: it is evaluated in float64 from the matrices of the entry, of the
objective itself (arXiv 2410.23169, Section 2; arXiv 2405.14468, equation 1). **Global optimality is not proven**, and a
value that two methods agree on is not proven either.

    python scripts/atlas.py --loss ce                     # search; goes on where it was stopped
    python scripts/atlas.py --loss mse --passes 2         # a second pass with more starts and new neighbours
    python scripts/atlas.py --table                       # ncbench/theory/atlas_table, from outputs/atlas
    python scripts/atlas.py --draw                        # this page, from ncbench/theory/atlas_table

```python
from ncbench.theory import atlas
entry = atlas("ce", num_classes=10, depth=3, decay=1e-3)
entry.loss, entry.rank, entry.geometry, entry.logits, entry.source
```

`decay` is that of all L + 1 factors at one sample per class; n samples per class and other decays are the same problem
at (n lam_H lam_1 ... lam_L)^(1/(L+1)), `ncbench.theory.dufm_ce.effective_decay`. At a decay between those of the table
`atlas` relaxes the neighbouring entries and the closed forms, and says so in `source`.

Two methods that know nothing of each other: **reduced** starts from closed forms, spherical codes and neighbouring
cells in narrow factors, **training** from random values of the whole network, wider than K. In the maps the number is
the rank (of the logits; of the pre-activations at their narrowest layer), the colour the loss over that of deep neural
collapse (or of the zero solution, where that is lower), a frame marks entries below every closed form, a thick frame
those below the value known before, hatching those that one method found.

The committed entries were found while the search was still being written: seeds and efforts changed between its
versions, and not every cell had a second pass (column `passes`). A run from scratch may end at other minima; what holds
of an entry follows from its matrices, and `tests/theory/test_atlas.py` checks it.
"""
TAIL = """## How to cite

ncbench (`CITATION.cff`), its version (`ncbench.__version__`) and the command above, with (K, L,
decay) of the entry. `atlas_ce.csv` and `atlas_mse.csv` here are the tables of the package; the matrices lie in
`ncbench/theory/atlas_table/*.npz`.

Columns: `loss`, `rank`, `ranks`, `geometry`, `gradient` (largest entry), `method` and `start` that found it, `reduced`
and `training` (what each method found), `confirmed`, `dnc`, `closed` and `closed_form` (the lowest closed form),
`tabulated` (the value known before, nan where there is none), `passes` of the search and their `seconds`. A geometry is
named where the matrix is a multiple of the named one up to a permutation of the classes (entries to 1e-4; "relaxed": of
what the structure relaxes to, to 1e-3); for mean squared error by the cosines of the first and the last features behind
a ReLU, "near" where the loss is below that of the named solution.
"""
