"""Texts of figures: labels from data as they are, and theory lines with name, value and formula.

A formula is set as mathematics where it is simple.
"""

import re
import textwrap

import pandas as pd
from matplotlib.mathtext import MathTextParser

from ncbench.records.load import load_references
from ncbench.records.runs import Dir

# A sub- or superscript of plain text: `_H`, `^2`, `^-b`, `^(1/L)`, with one pair of brackets inside at most.
_SCRIPT = re.compile(r"([_^])(?:\(((?:[^()]|\([^()]*\))*)\)|(-?\w))")


def literal(text: object) -> str:
    """Text from data, protected from being read as mathematics.

    >>> literal("a$b")
    'a\\\\$b'
    """
    return str(text).replace("$", r"\$")


def wrapped(text: str, width: int = 28) -> str:
    """A label from data on lines of about `width` characters, for the side of a small panel."""
    return literal("\n".join(textwrap.wrap(text, width)))


def loss_formulas(dir: Dir) -> dict[str, str]:
    """The formula of every line of the loss, by the line's name; '' where the record gives none."""
    lines = load_references(dir)
    return formulas_of(lines[lines["measure"] == "loss"])


def formulas_of(lines: pd.DataFrame) -> dict[str, str]:
    """The formula of each of these theory lines, by the line's name."""
    return {str(name): formula or "" for name, formula in zip(lines["name"], lines["formula"], strict=True)}


def line_label(name: str, values: list[float], formula: str, width: int) -> str:
    """ "NAME value: formula" on lines of about `width` characters; without the value where there are several."""
    head = name.upper() + (f" {values[0]:.7g}" if len(set(values)) == 1 else "")
    lines = textwrap.wrap(f"{'.' * len(head)}:  {formula}", width, subsequent_indent="    ") if formula else []
    # The name is text from the configuration: an underscore in it is no subscript.
    return literal(head) + "\n".join(map(as_mathematics, lines)).lstrip(".")


def as_mathematics(text: str) -> str:
    """Sub- and superscripts set as such; text that matplotlib cannot read as mathematics stays as it is.

    >>> as_mathematics("(Λ y)^(1/L), λ_H")
    '(Λ y)$\\\\mathregular{^{1/L}}$, λ$\\\\mathregular{_{H}}$'
    """
    if re.search(r"[$\\{}%#&~]", text):
        return literal(text)
    drawn = _SCRIPT.sub(lambda script: rf"$\mathregular{{{script[1]}{{{script[2] or script[3]}}}}}$", text)
    try:
        MathTextParser("path").parse(drawn)
    except ValueError:
        return text
    return drawn
