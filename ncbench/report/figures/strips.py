"""The parts of a wide figure that stand one below the other on a narrow screen."""

from collections.abc import Iterable
from itertools import pairwise, product
from math import inf

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

__all__ = ["Box", "stacked_svg", "strips"]

POINTS = 72  # of an SVG to the inch
MARGIN = 3.0
ENLARGED = 1.4  # of a part against its size in print, as far as the screen has room

Box = tuple[float, float, float, float]  # viewBox in the figure's SVG: left, top, width, height


def strips(figure: Figure) -> list[Box]:
    """The columns of panels from left to right, with what the figure says above them first and the rest after them.

    Panels that all have a title of their own stand alone, in the order in which they are read: row by row. Empty where
    all panels are in one column. A colour bar goes with the column on its left; what is left of the first column goes
    with it. The figure has been laid out, as it is once it is written.
    """
    height = figure.get_figheight() * POINTS
    drawn = [ax for ax in figure.axes if ax.get_visible() and (ax.axison or ax.has_data())]
    of_panels = [_box(figure, ax) for ax in drawn if not _is_bar(ax)]
    columns = _merged((box.x0, box.x1) for box in of_panels)
    if len(columns) < 2:
        return []
    of_bars = [_box(figure, ax) for ax in drawn if _is_bar(ax)]
    for bar in of_bars:
        place = max((place for place, (left, _) in enumerate(columns) if left < bar.x0), default=0)
        columns[place] = (columns[place][0], max(columns[place][1], bar.x1))
    cuts = [(right + left) / 2 for (_, right), (left, _) in pairwise(columns)]
    alone = not of_bars and all(ax.get_title() for ax in drawn)
    rows = _merged((box.y0, box.y1) for box in of_panels)[::-1] if alone else [(-inf, inf)]
    parts = []
    for (low, high), (left, right) in product(rows, pairwise([0.0, *cuts, columns[-1][1] + MARGIN])):
        boxes = [box for box in (*of_panels, *of_bars) if left < (box.x0 + box.x1) / 2 < right]
        inside = [box for box in boxes if low < (box.y0 + box.y1) / 2 < high]
        if inside:  # the last row may have fewer panels
            parts.append((left, min(box.y0 for box in inside) - MARGIN, right, max(box.y1 for box in inside) + MARGIN))
    said = [_box(figure, artist) for artist in (*figure.legends, *figure.texts) if artist.get_visible()]
    said = [box for box in said if box.x1 > columns[0][0] and box.width > 0]
    top = max(box.y1 for box in of_panels) - MARGIN
    above = [tuple(box.extents) for box in said if box.y0 >= top]
    below = [tuple(box.extents) for box in said if box.y0 < top]
    return [_view(box, height) for box in (*above, *parts, *below)]


def stacked_svg(boxes: Iterable[Box], root: str) -> str:
    """One small SVG for each part, which shows it of the element with the id `root` in the same page."""
    return "".join(
        f'<svg class="strip" aria-hidden="true" width="{ENLARGED * width:.0f}" '
        f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}"><use href="#{root}"/></svg>'
        for left, top, width, height in boxes
    )


def _is_bar(ax: Axes) -> bool:
    return hasattr(ax, "_colorbar")


def _box(figure: Figure, artist: Artist) -> Bbox:
    """What an artist covers, in points from the lower left of the figure."""
    box = artist.get_tightbbox()
    return Bbox.null() if box is None else Bbox(box.get_points() * POINTS / figure.dpi)


def _merged(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Intervals from left to right, as one those that overlap by more than a margin, as labels in a gap may.

    >>> _merged([(15, 26), (0, 12), (1, 13), (25, 40)])
    [(0, 13), (15, 26), (25, 40)]
    """
    merged: list[tuple[float, float]] = []
    for left, right in sorted(intervals):
        if merged and left < merged[-1][1] - MARGIN:
            merged[-1] = (merged[-1][0], max(merged[-1][1], right))
        else:
            merged.append((left, right))
    return merged


def _view(extents: tuple[float, ...], height: float) -> Box:
    left, bottom, right, top = extents
    return left, height - top, right - left, top - bottom
