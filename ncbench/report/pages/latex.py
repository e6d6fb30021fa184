"""The tables of final values for a paper: LaTeX with booktabs' rules, which need not be loaded."""

import re

from ncbench.report.pages.headline import Table

__all__ = ["LATEX_TABLE", "latex_table"]

LATEX_TABLE = "table.tex"
_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}
_NUMBER = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)(?:e([+-]\d+))?(?![\w.])")
_HEAD = r"""% {caption}
% \input{{table}} in a table environment; \usepackage{{booktabs}} gives its rules their weights.
\providecommand{{\toprule}}{{\hline}}\providecommand{{\midrule}}{{\hline}}\providecommand{{\bottomrule}}{{\hline}}
"""


def latex_table(table: Table) -> str:
    """A `tabular` of a table of the page: the first column to the left, numbers in mathematics, text escaped.

    It needs no package. The caption stands above it as a comment.
    """
    rows = [[_number(entry) for entry in row[1:]] for row in table.rows]
    labels = [escaped(row[0]) for row in table.rows]
    lines = [" & ".join([label, *row]) + r" \\" for label, row in zip(labels, rows, strict=True)]
    return "\n".join(
        [
            _HEAD.format(caption=table.caption).rstrip(),
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            " & ".join(map(escaped, table.header)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Text without meaning to LaTeX.

    >>> escaped("weight_decay=5%")
    'weight\\\\_decay=5\\\\%'
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def _number(entry: str) -> str:
    """An entry with its numbers in mathematics: a minus sign, and powers of ten.

    >>> _number("1.5e-07 [-2, 3]")
    '$1.5 \\\\times 10^{-7}$ [$-2$, $3$]'
    """
    return _NUMBER.sub(_mathematics, escaped(entry))


def _mathematics(found: "re.Match[str]") -> str:
    digits, exponent = found.groups()
    return f"${digits}$" if exponent is None else rf"${digits} \times 10^{{{int(exponent)}}}$"
