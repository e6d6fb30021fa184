"""The figure of many initialisations: the median and the whole range, of the hidden layers alone."""

import numpy as np
import pytest

from ncbench.report import figure
from ncbench.report.figures import seed_range
from tests.helpers.run_folders import STEPS, write_run


def test_median_and_range_over_replicas(tmp_path, mutant):
    """Losses at the last step: 0.1, 0.11, ..., 0.2. TCV of head.1, head.2: 10^-(place + replica/8) / (2 (1 + step))."""
    run = write_run(tmp_path / "run", list(range(11)))
    loss, tcv, *_ = figure.seed_range(run).axes
    (median,) = loss.lines
    np.testing.assert_array_equal(median.get_xdata(), STEPS)
    assert median.get_ydata()[-1] == pytest.approx(0.15)
    (band,) = loss.collections
    at_the_end = band.get_paths()[0].vertices
    at_the_end = at_the_end[at_the_end[:, 0] == STEPS[-1], 1]
    assert (at_the_end.min(), at_the_end.max()) == (pytest.approx(0.1), pytest.approx(0.2))
    places = (2, 4)  # of head.1.post and head.2.post among the recorded layers; head.3 is the output
    expected = np.mean([10.0 ** -(place + 5 / 8) / 2 for place in places])
    assert tcv.lines[0].get_ydata()[0] == pytest.approx(expected)
    assert (loss.get_yscale(), tcv.get_yscale()) == ("log", "log")
    features = mutant(seed_range, '"inner" if stage == "weight" else "intermediate"', '"inner"').seed_range(run).axes[1]
    assert features.lines[0].get_ydata()[0] != pytest.approx(expected)


def test_a_few_replicas_have_no_range(tmp_path):
    with pytest.raises(figure.NoRecordsError, match="no 10 replicas of the same settings"):
        figure.seed_range(write_run(tmp_path / "run", list(range(9))))
