"""The schema of a run folder: what is written, what is read and what the documentation says are the same."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from ncbench.measure import Measurement
from ncbench.records import load
from ncbench.records.parts import last_step, part_path, parts
from ncbench.records.schema import TABLES, arrow_schema, columns, row_key
from ncbench.records.writer import RecordWriter

ROOT = Path(__file__).parents[2]
LOADERS = {
    "measures": load.load_measures,
    "spectra": load.load_spectra,
    "grams": load.load_grams,
    "means": load.load_means,
    "sample_grams": load.load_sample_grams,
}


@pytest.fixture
def recorded(tmp_path):
    """Two replicas with a value in every table, at two steps."""
    values = torch.tensor([[0.5, 0.25], [0.75, 1.0]], dtype=torch.float64)
    measurement = Measurement(
        values={("train", "", "", "loss"): values[0], ("", "head.1", "weight", "norm"): values[1]},
        of_sources={("", "head.1", "weight", "rank_bound", "features"): values[1]},
        spectra={("features", "post"): values},
        grams={("features", "post"): torch.eye(2).expand(2, 2, 2)},
        means={("features", "post"): torch.ones(2, 2, 3)},
        sample_grams={("features", "post"): torch.eye(4).expand(2, 4, 4)},
    )
    writer = RecordWriter(tmp_path, [7, 8])
    for step in (0, 40):
        writer.write(step, step / 10, measurement)
    (tmp_path / "run.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("table", TABLES)
def test_what_is_written_and_read_has_the_columns_of_the_schema(recorded, table):
    assert [last_step(part) for part in parts(recorded, table)] == [0, 40]
    assert parts(recorded, table)[1] == part_path(recorded, table, 40)
    # As it stands in the file, not as a reader would have it.
    file = pq.ParquetFile(parts(recorded, table)[0])
    assert file.schema_arrow.equals(arrow_schema(table))
    frame = LOADERS[table](recorded)
    assert list(frame.columns) == ["run", *columns(table)]
    assert not frame.duplicated(row_key(table)).any()
    assert frame.duplicated([name for name in row_key(table) if name != "step"]).any()


def test_only_measures_of_two_layers_have_a_source_layer(recorded):
    frame = load.load_measures(recorded, steps=0)
    sources = dict(zip(frame["measure"], frame["source_layer"], strict=True))
    assert sources == {"loss": "", "norm": "", "rank_bound": "features"}


def test_the_documentation_has_every_column():
    section = (ROOT / "docs" / "runs.md").read_text().partition("## What a run folder holds\n")[2].partition("\n## ")[0]
    written = [line for line in section.splitlines() if line.startswith("| `")]
    assert written == [
        f"| `{table}` | `{name}` | {column.type} | {column.meaning} |"
        for table, of_table in TABLES.items()
        for name, column in of_table.items()
    ]


def test_names_of_files_and_layers_cost_no_import():
    code = (
        "import sys, ncbench.records.schema, ncbench.records.layers\n"
        "bad = {'pyarrow', 'numpy', 'pandas', 'torch'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
