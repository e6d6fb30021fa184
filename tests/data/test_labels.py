"""Labels of the problems without images."""

import pytest
import torch

from ncbench.data import BalancedLabels


def test_one_full_batch():
    data = BalancedLabels(classes=3, per_class=4)
    data.prepare_data()
    data.setup()
    assert (data.num_classes, data.per_class, data.test) == (3, 4, None)
    for loader in (
        data.train_dataloader(),
        data.measure_loader(),
        data.measure_loader("train", batch_size=2),
    ):
        assert len(loader) == 1
        indices, labels = loader[0]
        assert torch.equal(indices, torch.arange(12))
        assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert labels.dtype == torch.int64


def test_the_first_of_each_class():
    ((indices, labels),) = BalancedLabels(classes=2, per_class=5).measure_loader(per_class=2)
    assert indices.tolist() == [0, 1, 5, 6]
    assert labels.tolist() == [0, 0, 1, 1]
    ((indices, _),) = BalancedLabels(classes=2, per_class=5).measure_loader(per_class=9)
    assert len(indices) == 10


def test_errors():
    with pytest.raises(ValueError, match=r"^classes=1 must be at least 2"):
        BalancedLabels(classes=1, per_class=4)
    with pytest.raises(ValueError, match=r"^per_class=0 must be at least 1"):
        BalancedLabels(classes=2, per_class=0)
    with pytest.raises(ValueError, match=r"split=test must be train, as free features"):
        BalancedLabels(classes=2, per_class=1).measure_loader("test")
    with pytest.raises(ValueError, match=r"^per_class=0 must be at least 1"):
        BalancedLabels(classes=2, per_class=1).measure_loader(per_class=0)
