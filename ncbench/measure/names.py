"""The names of the measures: those that are always there, those on request, and the words for several of them."""

from collections.abc import Mapping, Sequence

from ncbench.measure.classifier import NC, SELF_DUALITY
from ncbench.measure.measures import OF_MOMENTS, OF_SINGULAR_VALUES, ON_REQUEST
from ncbench.measure.second_pass import SECOND_PASSES

__all__ = ["ALWAYS", "KNOWN", "SETS", "names_on_request"]

KNOWN = (*ON_REQUEST, SELF_DUALITY, *SECOND_PASSES)
ALWAYS = (*OF_MOMENTS, "dnc2", *OF_SINGULAR_VALUES, "tail", "norm")  # the names of layers' values
SETS: Mapping[str, Sequence[str]] = {  # nc1 is a name of its own
    "default": (),
    "nc": NC,
    "nc2": ("equinorm", "equiangularity"),
    "nc3": (SELF_DUALITY,),
    "nc4": ("ncc_mismatch",),
}


def names_on_request(measures: str | Sequence[str]) -> list[str]:
    """The names of measures beyond the default ones; ValueError for one that is not known.

    A name stands alone or in a list, and so does a word of `SETS`: "default" stands for none, "nc" for NC1 to NC4.

    >>> names_on_request("default"), names_on_request(["cdnv", "nc"])[:3], names_on_request("nc3")
    ([], ['cdnv', 'nc1', 'equinorm'], ['self_duality'])
    """
    asked = [measures] if isinstance(measures, str) else list(measures)
    names = list(dict.fromkeys(name for word in asked for name in SETS.get(word, (word,))))
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        words = [word for word in SETS if word != "default"]
        always = [name for name in unknown if name in ALWAYS]
        raise ValueError(
            f"measures={', '.join(map(str, always))} is always measured and need not be asked for"
            if always == unknown
            else f"measures={', '.join(map(str, unknown))} must be among {', '.join(_listed(words))}; give functions "
            "of your own as moments or matrices"
        )
    return names


def _listed(words: Sequence[str]) -> list[str]:
    """All that can be asked for, by the alphabet, those of neural collapse first."""
    return sorted({*words, *KNOWN}, key=lambda name: (not name.startswith("nc"), name))
