"""The parts of a figure for a narrow screen: each panel whole in one of them, and in one only."""

from itertools import pairwise

import numpy as np
import pytest

from ncbench.report.figures.strips import strips
from ncbench.report.figures.style import panels, to_svg


def laid_out(rows, columns, bar=False, legend=None, titles=0):
    figure, axes = panels(rows, columns, 3.3, 3.0)
    for number, ax in enumerate(axes.flat):
        line = ax.plot([0, 1], [0, number + 1], label=f"curve {number}")
        ax.set_ylabel("a label")
        ax.set_title("a title" if number < titles else "")
    if bar:
        image = axes[0, -1].imshow(np.eye(3))
        figure.colorbar(image, ax=list(axes.flat), label="what it shows")
    if legend:
        figure.legend(handles=line, loc=legend)
    to_svg(figure)
    return figure, axes


@pytest.mark.parametrize(("rows", "columns", "bar"), [(1, 3, False), (2, 3, False), (2, 2, True), (1, 2, True)])
def test_every_panel_is_whole_in_the_strip_of_its_column(rows, columns, bar):
    figure, axes = laid_out(rows, columns, bar)
    found = strips(figure)
    assert len(found) == columns
    height = figure.get_figheight() * 72
    for column in range(columns):
        left, top, width, tall = found[column]
        for row in range(rows):
            box = axes[row, column].get_window_extent()
            x0, x1, y0, y1 = (value * 72 / figure.dpi for value in (box.x0, box.x1, box.y0, box.y1))
            assert left < x0 < x1 < left + width
            assert top < height - y1 < height - y0 < top + tall
    ends = [(left, left + width) for left, _, width, _ in found]
    assert ends[0][0] == 0
    assert all(one[1] == pytest.approx(other[0]) for one, other in pairwise(ends))
    assert ends[-1][1] <= figure.get_figwidth() * 72 + 3


@pytest.mark.parametrize(("legend", "place"), [("outside upper center", 0), ("outside right upper", -1)])
def test_what_the_figure_says_is_a_part_of_its_own(legend, place):
    figure, _ = laid_out(1, 3, legend=legend)
    found = strips(figure)
    assert len(found) == 4
    box = figure.legends[0].get_window_extent()
    left, top, width, tall = found[place]
    scale = 72 / figure.dpi
    assert left <= box.x0 * scale + 1
    assert left + width >= box.x1 * scale - 1
    assert tall == pytest.approx(box.height * scale, abs=2)
    assert top == pytest.approx(figure.get_figheight() * 72 - box.y1 * scale, abs=2)


def test_panels_with_titles_of_their_own_stand_alone_in_the_order_they_are_read_in():
    figure, axes = laid_out(2, 3, titles=5)
    axes[1, 2].set_visible(False)
    found = strips(figure)
    assert len(found) == 5
    height, scale = figure.get_figheight() * 72, 72 / figure.dpi
    for ax, (left, top, width, tall) in zip(list(axes.flat)[:5], found, strict=True):
        box, title = ax.get_window_extent(), ax.title.get_window_extent()
        assert left < box.x0 * scale < box.x1 * scale < left + width
        assert top < height - title.y1 * scale < height - box.y0 * scale < top + tall


def test_one_column_stays_as_it_is():
    assert strips(laid_out(2, 1, bar=True)[0]) == []
