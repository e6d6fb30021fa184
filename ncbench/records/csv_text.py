"""Tables as CSV that a spreadsheet takes for values: a text in it is never a formula.

Names of layers and runs come from a run folder, which may be somebody else's. A spreadsheet evaluates a cell that
begins with = + - @, a tab or a line's end, also one in quotation marks, so such a text gets an apostrophe in front, as
spreadsheets mark text themselves. Numbers stay numbers.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["csv_text"]

_FORMULA, _MARK = re.compile(r"[=+\-@\t\r\n]"), "'"


def csv_text(table: "pd.DataFrame") -> str:
    """The table as CSV without its index, with texts, also in its header, that begin like a formula marked as text."""
    marked = table.copy(deep=False)
    marked.columns = [_marked(name) for name in table.columns]
    for place, kind in enumerate(table.dtypes):
        if kind.name in ("object", "category", "str", "string"):
            marked.isetitem(place, [_marked(value) for value in table.iloc[:, place]])
    return str(marked.to_csv(index=False))


def _marked(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # A carriage return, which is not quoted, would begin a cell inside the text.
    return f"{_MARK if _FORMULA.match(value) else ''}{value}".replace("\r", " ")
