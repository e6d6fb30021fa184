"""Any map-style torch Dataset as the data of a run: a user's own, ImageFolder, TensorDataset."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ncbench.data.base import RunData, check_split
from ncbench.data.class_numbers import check_class_names, class_indices, label_values, labels_of, tensors_of
from ncbench.data.images import chosen_classes, drawn
from ncbench.data.map_loader import MapLoader, random_draws
from ncbench.data.map_set import NO_EPOCH, TRANSFORM, MapSet, map_style, read
from ncbench.data.order import hash64
from ncbench.data.points import PointSet, one_hot_targets, refuse_noises
from ncbench.data.samples import input_of, split
from ncbench.data.tensors import TensorLoader, TensorSet
from ncbench.data.uneven import made_uneven

__all__ = ["TorchData"]

RANDOM = "%s is random: where it is measured, every sample is read with one draw, the same each time; %s"
REMEDIES = {
    "train": "give dataset.evaluation the same samples without random transforms",
    "evaluation": "leave its random transforms out",
    "test": "leave its random transforms out",
}
OWN_DRAWS = (
    "%s draws from generators of its own (two readings of a sample differ): an interrupted run does not continue "
    "exactly, and measures are random"
)


class TorchData(RunData):
    """Map-style Datasets of samples (input, label, ...) or {"label": ..., one input}.

    Args:
        train, test: the Datasets; `test` None for no test split.
        evaluation: the samples of `train` in the same order without random transforms, to be measured in its place.
        classes: None for all, k for the first k, a list for those: places among the labels in ascending order.
        num_classes: K of the labels 0..K-1, each of which needs a sample. None takes the labels that occur in `train`,
            ascending: they need not begin at 0.
        per_class, seed: samples drawn of each class, as of the image sets; None for all.
        batch_size: of training; None trains on the full batch.
        num_workers: processes that read ahead; 0 reads in the process that trains.
        memory: hold the inputs in memory, each read once. None does so for TensorDataset (and a Subset of one).
        imbalance, minority, label_noise: of the training set, see `ncbench.data.uneven`.

    The order of the samples and the draws of their transforms are functions of (seed, epoch, sample); see `MapLoader`.
    After `setup()`: `train` and `test` (TensorSet or MapSet; sorted by class), `clean_labels` (N,), `num_classes`,
    `per_class`, `input_shape` and `notices`. `setup` raises ValueError for what is no map-style Dataset, for samples of
    another form, of unequal shape or unreadable, and for labels that are no class numbers.
    """

    clean_labels: Tensor

    def __init__(
        self,
        *,
        train: Any,
        test: Any = None,
        evaluation: Any = None,
        classes: int | Sequence[int] | None = None,
        num_classes: int | None = None,
        per_class: int | None = None,
        seed: int = 0,
        batch_size: int | None = 128,
        num_workers: int = 0,
        memory: bool | None = None,
        imbalance: float | None = None,
        minority: float = 0.5,
        label_noise: float = 0.0,
    ) -> None:
        super().__init__(seed)
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value is not None and value < least:
                raise ValueError(f"{name}={value} must be at least {least}")
        given = {"train": train, "test": test, "evaluation": evaluation}
        self._given = {
            name: map_style(data, name) for name, data in given.items() if data is not None or name == "train"
        }
        self.classes = classes if classes is None or isinstance(classes, int) else list(classes)
        self._of_labels, self._per_class = num_classes, per_class
        self.batch_size, self.num_workers, self.memory = batch_size, num_workers, memory
        self.imbalance, self.minority, self.label_noise = imbalance, minority, label_noise
        self._sets: dict[str, MapSet | TensorSet] = {}

    @override
    def setup(self, stage: str | None = None, device: torch.device | str | None = None) -> None:
        # Lightning calls this again at the start of fit: the labels are read once.
        if device is not None:
            self._device = torch.device(device)
        if self._sets:
            return
        own = labels_of(self._given["train"], "train")
        values = label_values(self._given["train"], own, self._of_labels, "train")
        chosen = chosen_classes(self.classes, len(values))
        if self._of_labels is None and values.tolist() != list(range(len(values))):
            self.notices.append(f"the labels of train are numbered anew, 0 to {len(values) - 1}: {_shown(values)}")
        classes = class_indices(own, values, "train")
        parts = [drawn(classes, c, self._per_class, self.seed) for c in chosen]
        positions = torch.cat(parts)
        clean = torch.arange(len(chosen)).repeat_interleave(torch.tensor([len(part) for part in parts]))
        index, told = made_uneven(
            clean,
            len(chosen),
            imbalance=self.imbalance,
            minority=self.minority,
            label_noise=self.label_noise,
            seed=self.seed,
        )
        self.clean_labels = clean[index]
        self._sets["train"] = self._set("train", positions[index], told, own, len(chosen))
        if "evaluation" in self._given:
            if not torch.equal(labels_of(self._given["evaluation"], "evaluation"), own):
                raise ValueError("evaluation: must hold the samples of train in the same order, and its labels differ")
            self._sets["evaluation"] = self._set("evaluation", positions[index], told, own, len(chosen))
            check_alike(self._sets["evaluation"], self._sets["train"], "evaluation")
        if "test" in self._given:
            check_class_names(self._given["train"], self._given["test"], "test")
            own = labels_of(self._given["test"], "test")
            classes = class_indices(own, values, "test")
            parts = [drawn(classes, c, None, self.seed) for c in chosen]
            labels = torch.arange(len(chosen)).repeat_interleave(torch.tensor([len(part) for part in parts]))
            if not len(labels):
                raise ValueError("test: has no sample of the chosen classes")
            self._sets["test"] = self._set("test", torch.cat(parts), labels, own, len(chosen))
            check_alike(self._sets["test"], self._sets["train"], "test")
            self.test = self._sets["test"]

    def _set(self, name: str, positions: Tensor, labels: Tensor, own: Tensor, K: int) -> MapSet | TensorSet:
        dataset = self._given[name]
        tensors = None if self.memory is False else tensors_of(dataset, name)
        if tensors is not None:
            return TensorSet(tensors[0][positions], labels, K)
        first = int(positions[0])
        example = input_of(split(read(dataset, first, name), f"{name}[{first}]")[0], f"{name}[{first}]")
        data = MapSet(dataset, positions, labels, own, K, tuple(example.shape), example.dtype, name)
        draws = random_draws(data)
        if self.memory:
            if draws is not None:
                raise ValueError(
                    f"memory=True: {name} is random, and what is held in memory stays as it was read first"
                )
            words = hash64(0, TRANSFORM, NO_EPOCH, positions).tolist()
            return TensorSet(torch.stack([data.sample(i, word) for i, word in enumerate(words)]), labels, K)
        if draws == "own":
            self.notices.append(OWN_DRAWS % name)
        elif draws == "drawn" and not (name == "train" and "evaluation" in self._given):
            self.notices.append(RANDOM % (name, REMEDIES[name]))
        return data

    @property
    @override
    def train(self) -> MapSet | TensorSet:
        if not self._sets:
            raise RuntimeError(f"{type(self).__name__} has no samples yet; call prepare_data() and setup() first")
        return self._sets["train"]

    @override
    def train_dataloader(self) -> TensorLoader | MapLoader:
        data = self._placed("train")
        common: dict[str, Any] = {"seed": self.order_seed, "epoch": self._epoch(), "dtype": self._dtype()}
        if isinstance(data, TensorSet):
            return TensorLoader(data, self.batch_size, **common)
        return MapLoader(data, self.batch_size, num_workers=self.num_workers, keep_workers=True, **common)

    @override
    def measure_loader(
        self, split: str = "train", batch_size: int | None = None, per_class: int | None = None
    ) -> TensorLoader | MapLoader:
        """Every sample of a split once, sorted by class; of `train` those of `evaluation`, where it was given.

        `batch_size` None takes that of training; `per_class` takes at most the first samples of each class. Raises
        ValueError for another split than train and test, and for test where there is none.
        """
        check_split(split)
        if split == "test" and "test" not in self._sets:
            raise ValueError("split=test has no sample, as dataset.test is empty; measure.splits=[train] leaves it out")
        data = self._placed("evaluation" if split == "train" and "evaluation" in self._sets else split)
        data = data if per_class is None else data.head(per_class)
        batch_size = self.batch_size if batch_size is None else batch_size
        if isinstance(data, TensorSet):
            return TensorLoader(data, batch_size, shuffle=False)
        return MapLoader(data, batch_size, shuffle=False, num_workers=self.num_workers)

    def points(self, noises: Sequence[float] | None = None) -> PointSet:
        """The inputs to be measured as points (1, N, d), as they are, with one-hot targets of the labels told.

        Raises ValueError where noise levels are asked for.
        """
        refuse_noises(noises)
        batches = list(self.measure_loader("train"))
        inputs = torch.cat([x.flatten(1) for x, _ in batches]).double()
        labels = torch.cat([y for _, y in batches])
        return PointSet(inputs[None], one_hot_targets(labels, self.num_classes), labels, self.num_classes)

    def _placed(self, name: str) -> MapSet | TensorSet:
        """A set, what is in memory moved (once) to the device of `setup`, of the trainer, or the CPU."""
        self._sets[name] = on_device(self._sets[name], self._root_device())
        return self._sets[name]


def on_device(data: MapSet | TensorSet, device: torch.device | None) -> MapSet | TensorSet:
    """The set, with its tensors on a device where it has them in memory; itself where it is right already."""
    if isinstance(data, MapSet) or device is None or data.inputs.device == device:
        return data
    return data.to(device)


def check_alike(data: MapSet | TensorSet, train: MapSet | TensorSet, name: str) -> None:
    """ValueError where a set has inputs of another shape than train, or floats where train has whole numbers."""
    if data.input_shape != train.input_shape:
        raise ValueError(f"{name}: has inputs of shape {data.input_shape}, and train of shape {train.input_shape}")
    if data.dtype.is_floating_point != train.dtype.is_floating_point:
        floats, other = ("floats", "whole numbers")[:: 1 if data.dtype.is_floating_point else -1]
        raise ValueError(f"{name}: has inputs of {floats} ({data.dtype}), and train of {other} ({train.dtype})")


def _shown(values: Tensor) -> str:
    listed = [str(value) for value in values.tolist()]
    return ", ".join(listed if len(listed) <= 6 else [*listed[:3], "...", *listed[-2:]])
