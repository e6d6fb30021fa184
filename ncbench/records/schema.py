"""What a run folder holds: the names of its files, and its tables with their columns.

The one place of these names: `writer` writes by them, `tables` reads by them, docs/runs.md is tested against them. The
standard library alone, so that a command that only looks for folders need not wait for pyarrow.
"""

import functools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CHECKPOINTS",
    "CHECKSUMS",
    "CLAIMS",
    "CONFIG",
    "FIGURE_FOLDER",
    "FINAL_TABLE",
    "HOLDER",
    "HYDRA",
    "KEPT_CHECKPOINT",
    "LAST_CHECKPOINT",
    "LOCK",
    "LOG",
    "MANIFEST",
    "MEASURED",
    "METRICS",
    "OVERRIDES",
    "PREVIOUS_CHECKPOINT",
    "RECORDED_BY",
    "REFERENCES",
    "REPLICAS",
    "REPORT",
    "RUN",
    "RUN_INFO",
    "SCHEMA_VERSION",
    "SERIES",
    "STOPPED",
    "SWEEP",
    "TABLES",
    "TENSORBOARD",
    "TEXT",
    "WANDB",
    "Column",
    "arrow_schema",
    "columns",
    "row_key",
]

SCHEMA_VERSION = 2  # in run.json; 1: config_hash was that of all resolved values, import paths included

RUN_INFO = "run.json"
RECORDED_BY = "recorded_by"  # in run.json, of a training that is none of ncbench.train: what wrote the folder
CONFIG = "config.yaml"
REFERENCES = "references.json"
REPLICAS = "replicas.json"
MANIFEST = "manifest.json"  # of the tables' parts: size and checksum of each
LOG = "ncbench.log"
LOCK = ".lock"
HOLDER = ".holder"  # process and host that have the lock, or had it last
STOPPED = "stopped by a signal"  # the error in run.json of a run that a signal has ended
HYDRA = ".hydra"
OVERRIDES = f"{HYDRA}/overrides.yaml"
CHECKPOINTS = "checkpoints"
KEPT_CHECKPOINT = "epoch_{}.ckpt"  # of trainer.keep_checkpoints
LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, CHECKSUMS = "last.ckpt", "previous.ckpt", "checksums.json"
WANDB, TENSORBOARD, METRICS = "wandb", "tensorboard", "metrics.csv"  # of its loggers
SWEEP = "sweep.json"  # in the folder of a sweep, above those of its runs
REPORT, FINAL_TABLE, CLAIMS, FIGURE_FOLDER = "report.html", "table.csv", "claims.json", "figures"  # of its report

TEXT = "text"  # a dictionary-encoded string
FLOATS = "floats"  # a list of 32-bit floats
RUN = "run"  # the reader's first column: which run a row is of; not written, since a folder may be moved


class Column(NamedTuple):
    """The type of a column (Arrow's name of it, or TEXT or FLOATS), and what stands in it."""

    type: str
    meaning: str


_PLACE = {
    "replica": Column("int32", "number of the replica, from 0"),
    "step": Column("int64", "gradient steps taken"),
    "layer": Column(TEXT, "name of the layer"),
    "stage": Column(TEXT, "`pre`, `post` or `weight`"),
}
_MEASURES = {
    "replica": _PLACE["replica"],
    "seed": Column("int64", "seed of the replica"),
    "step": _PLACE["step"],
    "epoch": Column("float64", "epochs passed; in full-batch problems the step"),
    "split": Column(TEXT, "`train` or `test`; empty for what is no function of the data, such as weights"),
    "layer": Column(TEXT, "name of the layer; empty for values of the whole network"),
    "stage": Column(TEXT, "`pre`, `post` or `weight`; empty for values of the whole network"),
    "source_layer": Column(
        TEXT, "the earlier layer of a measure of two layers (`rank_bound`, `tightness`), else empty"
    ),
    "measure": Column(TEXT, "name of the measure"),
    "value": Column("float64", "its value"),
}
_OF_CLASSES = Column("int16", "number of classes K")

TABLES: dict[str, dict[str, Column]] = {
    "measures": _MEASURES,
    "spectra": _PLACE
    | {
        "index": Column("int16", "place of the singular value, from 0, descending"),
        "singular_value": Column("float64", "of the class means, not centred, or of the weight matrix"),
    },
    "grams": _PLACE
    | {"size": _OF_CLASSES, "gram": Column(FLOATS, "M M^T of the class means, not centred, row by row")},
    "means": _PLACE
    | {"size": _OF_CLASSES, "mean": Column(FLOATS, "the class means M (K x d), not centred, row by row")},
    "sample_grams": _PLACE
    | {
        "size": Column("int16", "number of samples N"),
        "gram": Column(FLOATS, "Z Z^T of all samples, sorted by class, row by row"),
    },
}

SERIES = ("split", "layer", "stage", "measure", "source_layer")  # what tells the values of one step apart
MEASURED = ("value", "singular_value", "gram", "mean")  # no two alike: a dictionary only costs time and space


def columns(table: str) -> list[str]:
    """The names of a table's columns, in order."""
    return list(TABLES[table])


def row_key(table: str) -> list[str]:
    """The columns that tell the rows of one run apart: no two rows agree in all of them."""
    return [name for name in TABLES[table] if name not in (*MEASURED, "seed", "epoch", "size")]


@functools.cache
def arrow_schema(table: str) -> "pa.Schema":
    """The columns of a table with their Arrow types, in order."""
    import pyarrow as pa  # here, not above: it takes as long to import as the rest of a command that lists folders

    compound = {TEXT: pa.dictionary(pa.int32(), pa.string()), FLOATS: pa.list_(pa.float32())}
    return pa.schema(
        [(name, compound.get(column.type) or pa.type_for_alias(column.type)) for name, column in TABLES[table].items()]
    )
