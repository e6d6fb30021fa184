"""Class numbers of a Dataset: from where they are read, which classes they make, and what is refused."""

import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from ncbench.data import class_numbers
from ncbench.data.class_numbers import check_class_names, class_indices, label_values, labels_of


class Listed:
    """A Dataset with `targets`, right ones or wrong ones, that counts how often it is read."""

    def __init__(self, labels, targets):
        self.labels, self.targets, self.read = labels, targets, 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.read += 1
        return torch.zeros(2), self.labels[i]


def test_labels_come_from_targets_where_they_are_right():
    labels = [i % 3 for i in range(100)]
    right = Listed(labels, labels)
    assert labels_of(right, "train").tolist() == labels
    assert right.read == 34  # 32 places, and the first ones of classes 1 and 2
    assert labels_of(Subset(right, [5, 1, 99]), "train").tolist() == [2, 1, 0]
    for targets in ([0] * 100, labels[:-1], ["a"] * 100, None):  # wrong, of other samples, no numbers, none
        assert labels_of(Listed(labels, targets), "train").tolist() == labels


def test_labels_of_tensors():
    x = torch.zeros(4, 2)
    assert labels_of(TensorDataset(x, torch.tensor([[3], [1], [0], [3]])), "train").tolist() == [3, 1, 0, 3]
    assert labels_of(TensorDataset(x, torch.eye(4)[[2, 0, 1, 3]]), "train").tolist() == [2, 0, 1, 3]
    with pytest.raises(ValueError, match=r"^train\[0\]: a label must be a whole number .* not tensor\(0.5000\)"):
        labels_of(TensorDataset(x, torch.tensor([0.5, 0.5, 1.0, 0.0])), "train")
    with pytest.raises(ValueError, match=r"^train: the inputs must be \(N, ...\), .* not \(4,\)"):
        labels_of(TensorDataset(torch.zeros(4), torch.arange(4)), "train")


def test_label_values():
    assert label_values([], torch.tensor([5, -1, 5]), None, "train").tolist() == [-1, 5]
    assert label_values([], torch.tensor([1, 0]), 2, "train").tolist() == [0, 1]
    assert class_indices(torch.tensor([5, -1, 5]), torch.tensor([-1, 5]), "train").tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"^train: num_classes=3 needs labels in 0..2, not in 1..3"):
        label_values([], torch.tensor([1, 2, 3]), 3, "train")
    with pytest.raises(ValueError, match=r"^train: num_classes=3 needs a sample of every class, and 1 has none"):
        label_values([], torch.tensor([0, 2]), 3, "train")
    with pytest.raises(ValueError, match=r"^train: every sample has the label 4; at least 2 classes are needed"):
        label_values([], torch.tensor([4, 4]), None, "train")
    for labels in ([0, 3], [0, -2], [0, 9]):
        with pytest.raises(ValueError, match=rf"^test\[1\]: has the label {labels[1]}, which no training sample has"):
            class_indices(torch.tensor(labels), torch.tensor([0, 1, 5]), "test")


def test_places_are_no_labels():
    """Of (input, place, label) the second would be a class of its own for each sample: no class has a second sample."""
    x = torch.zeros(3, 2)
    places, labels = torch.arange(3), torch.tensor([0, 1, 1])
    for given in (TensorDataset(x, places, labels), [(x[i], i, int(labels[i])) for i in range(3)]):
        own = labels_of(given, "train")
        with pytest.raises(
            ValueError, match=r"^train: of the 3 entries of a sample the second is its label, .* 0 to 2; "
        ):
            label_values(given, own, None, "train")
        assert label_values(given, own, 3, "train").tolist() == [0, 1, 2]
    for given in (TensorDataset(x, places), TensorDataset(x, places.flip(0), labels), TensorDataset(x, labels, places)):
        assert len(label_values(given, labels_of(given, "train"), None, "train")) >= 2


class Merged(torch.utils.data.Dataset):
    """Class 3 of the four in `targets` is told as class 2; neither of the ends of the set is of it."""

    targets = [0] * 9 + [3] + [1] * 20 + [2] * 10

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        return torch.zeros(2), min(self.targets[i], 2)


class OfMethod(Merged):
    def __init__(self):
        self.known = self.targets

    def __getitem__(self, i):
        return torch.zeros(2), self.known[i]


def test_one_sample_of_each_class_is_looked_at(mutant):
    assert labels_of(Merged(), "train").tolist() == [0] * 9 + [2] + [1] * 20 + [2] * 10
    blind = mutant(class_numbers, "{*spread, *_first_of_each(numbers)}", "{*spread}")
    assert 3 in blind.labels_of(Merged(), "train").tolist()


def test_targets_that_are_a_method_are_no_labels():
    dataset = OfMethod()
    dataset.targets = lambda: dataset.known  # as a method of the class would be
    dataset.__class__ = type("Bound", (OfMethod,), {"__len__": lambda of: len(of.known)})
    assert labels_of(dataset, "train").tolist() == dataset.known


def test_names_of_classes_are_compared_through_subsets():
    train, test = Listed([0, 1, 2], [0, 1, 2]), Listed([0, 1], [0, 1])
    train.classes, test.classes = ["ants", "bees", "wasps"], ["ants", "wasps"]
    part = Subset(Subset(train, [0, 1]), [0])
    check_class_names(part, train, "test")
    check_class_names(part, Listed([0], [0]), "test")  # names of one alone
    for one in (train, part):
        with pytest.raises(ValueError, match="^test: has the classes ants, wasps, and train has ants, bees, wasps$"):
            check_class_names(one, Subset(test, [0]), "test")
