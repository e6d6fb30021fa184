"""What is written of a measurement: rows that can be worked out by hand."""

import numpy as np
import pyarrow.parquet as pq
import torch

from ncbench.measure import Measurement
from ncbench.records.writer import RecordWriter


def test_matrices_are_kept_row_by_row(tmp_path):
    means = torch.arange(2 * 2 * 3, dtype=torch.float64).reshape(2, 2, 3)  # two replicas, K = 2, d = 3
    found = Measurement(
        values={("train", "", "", "loss"): torch.tensor([0.5, 0.25])},
        spectra={("features", "post"): torch.ones(2, 2)},
        grams={("features", "post"): means @ means.mT},
        means={("features", "post"): means},
    )
    RecordWriter(tmp_path, [7, 8]).write(40, 1.0, found)
    table = pq.read_table(tmp_path / "means" / "part-000000000040.parquet").to_pydict()
    assert table["replica"] == [0, 1]
    assert table["step"] == [40, 40]
    assert table["layer"] == ["features", "features"]
    assert table["size"] == [2, 2]
    assert table["mean"] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    grams = pq.read_table(tmp_path / "grams" / "part-000000000040.parquet").to_pydict()
    np.testing.assert_array_equal(grams["gram"][0], [5, 14, 14, 50])


def test_a_measurement_without_matrices_writes_none(tmp_path):
    writer = RecordWriter(tmp_path, [0])
    found = Measurement(
        values={("train", "", "", "loss"): torch.tensor([0.5])}, spectra={("features", "post"): torch.ones(1, 2)}
    )
    writer.write(0, 0.0, found)
    assert not [path for table in ("means", "grams") for path in (tmp_path / table).glob("*")]
