"""How much a table of one run may hold: parquet stands for a number that repeats with a few bytes, however often.

A file of 7 MB can say that it has 200 million rows. What its own footer says is looked at before a row is read.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from ncbench.records.small_files import BadRecordsError

__all__ = ["check_sizes"]

MOST_ROWS, MOST_NUMBERS = 50_000_000, 500_000_000  # of one table of one run
MOST_BYTES = 4 * 2**30  # as encoded, before compression


def check_sizes(folder: Path, footers: Iterable[pq.FileMetaData]) -> None:
    """BadRecordsError where parts with these footers, of the table in this folder, hold more than is read at once.

    At most 50 million rows, 500 million numbers in them (a matrix is a row with many), and 4 GiB.
    """
    rows = numbers = size = 0
    for footer in footers:
        rows += footer.num_rows
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            size += group.total_byte_size
            numbers += max((group.column(place).num_values for place in range(group.num_columns)), default=0)
    if rows > MOST_ROWS or numbers > MOST_NUMBERS or size > MOST_BYTES:
        raise BadRecordsError(
            f"{folder} says that it has {rows} rows with {numbers} numbers; at most {MOST_ROWS} and {MOST_NUMBERS} of "
            "one run are read"
        )
