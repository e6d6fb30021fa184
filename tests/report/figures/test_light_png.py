"""Pictures of records: a palette in place of full colour, the same size in pixels."""

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ncbench.report.figures.style import to_light_png, to_png


def opened(content):
    return Image.open(io.BytesIO(content))


def test_a_light_picture_has_a_palette_and_the_same_pixels_nearly():
    drawn = Figure(figsize=(4, 3))
    ax = drawn.add_subplot()
    ax.imshow(np.arange(64.0).reshape(8, 8), cmap="RdBu_r")
    ax.set_title("a title")
    plain, light = to_png(drawn, 120), to_light_png(drawn, 120)
    assert opened(light).mode == "P"
    assert opened(light).size == opened(plain).size
    assert len(light) < 0.7 * len(plain)
    pixels = [np.asarray(opened(content).convert("RGB"), float) for content in (light, plain)]
    assert np.abs(pixels[0] - pixels[1]).mean() < 1
