"""Theory lines as a legend says them: name, value and formula, the formula set as mathematics where it is simple."""

import re
import textwrap

import pandas as pd
from matplotlib.mathtext import MathTextParser

from ncbench.records.load import load_references
from ncbench.records.runs import Dir
from ncbench.report.figures import style

# A sub- or superscript of plain text: `_H`, `^2`, `^-b`, `^(1/L)`, with one pair of brackets inside at most.
_SCRIPT = re.compile(r"([_^])(?:\(((?:[^()]|\([^()]*\))*)\)|(-?\w))")


def loss_formulas(dir: Dir) -> dict[str, str]:
    """The formula of every line of the loss, by the line's name; '' where the record gives none."""
    lines = load_references(dir)
    return formulas_of(lines[lines["measure"] == "loss"])


def formulas_of(lines: pd.DataFrame) -> dict[str, str]:
    """The formula of each of these theory lines, by the line's name."""
    return {str(name): formula or "" for name, formula in zip(lines["name"], lines["formula"])}


def line_label(name: str, values: list[float], formula: str, width: int) -> str:
    """ "NAME value: formula" on lines of about `width` characters; without the value where there are several."""
    head = name.upper() + (f" {values[0]:.7g}" if len(set(values)) == 1 else "")
    lines = textwrap.wrap(f"{'.' * len(head)}:  {formula}", width, subsequent_indent="    ") if formula else []
    # The name is text from the configuration: an underscore in it is no subscript.
    return style.literal(head) + "\n".join(map(as_mathematics, lines)).lstrip(".")


def as_mathematics(text: str) -> str:
    """Sub- and superscripts set as such; text that matplotlib cannot read as mathematics stays as it is.

    >>> as_mathematics("(Λ y)^(1/L), λ_H")
    '(Λ y)$\\\\mathregular{^{1/L}}$, λ$\\\\mathregular{_{H}}$'
    """
    if re.search(r"[$\\{}%#&~]", text):
        return style.literal(text)
    drawn = _SCRIPT.sub(lambda found: rf"$\mathregular{{{found[1]}{{{found[2] or found[3]}}}}}$", text)
    try:
        MathTextParser("path").parse(drawn)
    except ValueError:
        return text
    return drawn
