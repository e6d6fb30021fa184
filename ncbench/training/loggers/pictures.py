"""Matrices of cosines as small pictures, on one colour scale for all steps and runs."""

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

__all__ = ["picture"]

_SIDE = 160  # pixels, at least: below it a viewer blurs the cells
_MISSING = 0xB0  # grey, as in the report, of a class mean that is zero


def picture(cosines: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """K x K cosines as an image (H, W, 3): blue -1, white 0, red 1, grey where there is none.

    >>> picture(np.eye(2)).shape, picture(np.eye(2))[0, 0].tolist(), picture(np.array([[np.nan]]))[0, 0].tolist()
    ((160, 160, 3), [103, 0, 31], [176, 176, 176])
    """
    colours = mpl.colormaps["RdBu_r"]((cosines + 1) / 2, bytes=True)[..., :3]
    colours = np.where(np.isnan(cosines)[..., None], np.uint8(_MISSING), colours)
    times = -(-_SIDE // len(cosines))
    return np.repeat(np.repeat(colours, times, axis=0), times, axis=1)
