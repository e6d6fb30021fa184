"""What stands below the panels of a figure: one legend for all of them, and what has no place."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from ncbench.report.figures.style import Plot

NOTE_LETTERS = 15  # of 8 points to the inch

__all__ = ["legend_columns", "note_missing", "note_quartiles", "note_together", "note_unnamed", "shared_legend"]


def shared_legend(figure: Figure, axes: Iterable[Axes], most: int, further: Iterable[Any] = ()) -> Legend:
    """One legend below the figure for what its axes name, each name once, and for `further` artists."""
    named = dict[Any, Any]()
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    named |= {artist.get_label(): artist for artist in further}
    columns = legend_columns(figure, named, most)
    return figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns)


def legend_columns(figure: Figure, labels: Iterable[object], most: int = 3) -> int:
    """In how many columns the labels fit below a figure: a letter of a legend is about 1/14 inch wide."""
    letters = max((len(str(label)) for label in labels), default=0) + 8  # with the sample of the line
    return max(1, min(most, int(14 * figure.get_figwidth() / letters)))


def note_missing(
    figure: "Plot", missing: Sequence[Mapping[str, Any]], notes: Iterable[str] = (), above: Legend | None = None
) -> None:
    """Says at the foot of a figure, behind other notes, how many settings have no place in it; for the page also how.

    `missing` are the values of these settings; the page's sentence names the argument that draws the first of them.
    The foot is `above` a legend that stands there.
    """
    if missing:
        more = "1 more setting is" if len(missing) == 1 else f"{len(missing)} more settings are"
        figure.left_out = f"{more} not drawn here; where={dict(missing[0])} draws {_first(len(missing))}"
    foot = [*notes, *([f"{len(missing)} more not drawn"] if missing else [])]
    _foot(figure, "\n".join(_lines(foot, int(NOTE_LETTERS * figure.get_figwidth()))), above)


def note_quartiles(table: pd.DataFrame, of: str = "networks") -> list[str]:
    """What the curves of a table of `quartiles` are; nothing where each is that of one network."""
    return [f"median over {of}, band: quartiles"] if (table["replicas"] > 1).any() else []


def note_fewer(values: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """That some points, one for each group, are over fewer networks than were measured there, if so.

    The others are NaN there. Where all of a group are, the curve has a gap.
    """
    groups = values.groupby(list(by), observed=True)["value"]
    known, measured = groups.count(), groups.size()
    fewer = known[(known > 0) & (known < measured)]
    return [f"some points over fewer networks, at least {fewer.min()}: the others are NaN there"] if len(fewer) else []


def note_together(figure: "Plot", names: Sequence[str], above: Legend) -> None:
    """Says at the foot of a figure, and for the page, over which quantities its best and median values are taken."""
    if names:
        _foot(figure, f"over all values of {', '.join(names)}".replace("$", r"\$"), above)
        figure.left_out = f"all values of {', '.join(names)} are taken together here; where={{NAME: VALUE}} draws one"


def note_unnamed(figure: "Plot", named: int, count: int) -> list[Any]:
    """A legend's entry that says how many of `count` curves it does not name, if so; the page says it too."""
    if count <= named:
        return []
    figure.left_out = f"the legend names {named} of {count}; where={{NAME: VALUE}} draws fewer"
    return [Line2D([], [], ls="", label=f"{count - named} more without a name here")]


def _foot(figure: "Plot", text: str, above: Legend | None) -> None:
    if text and above is not None:
        above.set_title(text, prop=FontProperties(size=8))
    elif text:
        figure.supxlabel(text, fontsize=8)


def _lines(notes: Iterable[str], letters: int) -> list[str]:
    """The notes in lines of at most so many letters; a note is never broken, as it may hold a formula.

    >>> _lines(["one", "two", "three"], 10)
    ['one; two;', 'three']
    """
    lines: list[str] = []
    for note in notes:
        if lines and len(lines[-1]) + len(note) + 3 <= letters:
            lines[-1] += f"; {note}"
        else:
            lines = [*(f"{line};" if line is lines[-1] else line for line in lines), note]
    return lines


def _first(count: int) -> str:
    return "it" if count == 1 else "the first of them"
