"""Any LightningDataModule as the data of a run: its Datasets, and its own order where that is no usual one."""

from collections.abc import Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, Subset
from typing_extensions import override

from ncbench.data.base import RunData, check_split
from ncbench.data.class_numbers import check_class_names, class_indices, label_values, labels_of, tensors_of
from ncbench.data.draws import drawing
from ncbench.data.given_loader import GivenLoader, has_known_order, has_own_batches, part_of_every_pass
from ncbench.data.map_loader import MapLoader, random_draws
from ncbench.data.map_set import MapSet, map_style, read
from ncbench.data.order import hash64
from ncbench.data.samples import input_of, split
from ncbench.data.tensors import TensorLoader, TensorSet
from ncbench.data.torch_data import OWN_DRAWS, RANDOM, REMEDIES, check_alike, on_device

__all__ = ["ModuleData", "is_own"]

MEASURED_AT_ONCE = 128
SETUP = 8  # the word of what `prepare_data` and `setup` draw
_TRANSFERS = ("transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer")


class ModuleData(RunData):
    """A LightningDataModule, of `pytorch_lightning` or `lightning`, as the data of a run.

    Trained on are the batches of `train_dataloader()`, a DataLoader over a map-style Dataset, with its batch size,
    workers, `collate_fn` and `drop_last`. Where its order is that of shuffle=True, the order and the draws of the
    transforms are functions of (seed, epoch, sample) as of every other set; with shuffle=False it is that of the
    Dataset. Another sampler is left as it is (`GivenLoader`), and `notices` says so. Measured is every sample of its
    Dataset once in its order, or those that its sampler draws once in every pass, and as `test` those of
    `test_dataloader()`, or else of `val_dataloader()`.

    What `prepare_data` and `setup` draw from the global generators is drawn anew from one seed whenever they are
    called. K is `num_classes` of the module where it has that, else the number of labels that occur in training. Raises
    ValueError (one line) for loaders of another kind, and where the module's own hooks move or change batches.
    """

    def __init__(self, module: Any, seed: int = 0) -> None:
        super().__init__(seed)
        self.module, self._name = module, type(module).__name__
        for hook in _TRANSFERS:
            if is_own(module, hook):
                raise ValueError(
                    f"{self._name}.{hook} would not be called; do its work in the Dataset or in collate_fn"
                )
        self._sets: dict[str, MapSet | TensorSet] = {}
        self._loaders: dict[str, DataLoader[Any]] = {}

    @override
    def prepare_data(self) -> None:
        if not self._sets:
            self._call("prepare_data")

    @override
    def setup(self, stage: str | None = None, device: torch.device | str | None = None) -> None:
        if device is not None:
            self._device = torch.device(device)
        if self._sets:
            return
        self._call("setup", stage="fit")
        loader = self._loader("train_dataloader")
        name = f"{self._name}.train_dataloader()"
        self._check_batches(loader, name)
        part = self._part(loader, name)
        own = labels_of(part, name)
        stated = getattr(self.module, "num_classes", None)
        self.values = label_values(part, own, stated if isinstance(stated, int) else None, name)
        self._sets["train"] = self._set(loader, part, name, own)
        self._loaders["train"] = loader
        self._warn_of_order(loader)
        for method, of_stage in (("test_dataloader", "test"), ("val_dataloader", None)):
            if "test" not in self._sets and is_own(self.module, method):
                if of_stage is not None:
                    self._call("setup", stage=of_stage)
                loader, name = self._loader(method), f"{self._name}.{method}()"
                check_class_names(self._loaders["train"].dataset, loader.dataset, name)
                part = self._part(loader, name)
                test = self._set(loader, part, name, labels_of(part, name))
                check_alike(test, self._sets["train"], name)
                self._sets["test"], self._loaders["test"], self.test = test, loader, test

    def _call(self, method: str, **arguments: Any) -> Any:
        with drawing(int(hash64(self.seed, SETUP))):
            return getattr(self.module, method)(**arguments)

    def _loader(self, method: str) -> DataLoader[Any]:
        loader = self._call(method)
        if not isinstance(loader, DataLoader) or (loader.batch_size is None and loader.batch_sampler is None):
            raise ValueError(
                f"{self._name}.{method}() must return one torch DataLoader of batches, not {_described(loader)}"
            )
        map_style(loader.dataset, f"{self._name}.{method}()")
        if loader.worker_init_fn is not None:
            where = "" if has_known_order(loader) else " where it is measured"
            self.notices.append(
                f"{self._name}.{method}() has a worker_init_fn, which is not called{where}: random transforms draw "
                "what (seed, epoch, sample) seed"
            )
        return loader

    def _check_batches(self, loader: DataLoader[Any], name: str) -> None:
        """ValueError where nobody can say how many batches a training loader has, or where it has none."""
        try:
            batches = len(loader)
        except (TypeError, NotImplementedError) as error:
            sampler = loader.batch_sampler if loader.batch_size is None else loader.sampler
            raise ValueError(
                f"{name}: its {type(sampler).__name__} must have a length (__len__), the number of batches of an epoch"
            ) from error
        if batches < 1:
            sampled = len(loader.sampler) if isinstance(loader.sampler, Sized) else 0
            how = f"batch_size={loader.batch_size}, drop_last={loader.drop_last}"
            raise ValueError(f"{name}: has no batch of its {sampled} samples ({how})")

    def _part(self, loader: DataLoader[Any], name: str) -> Any:
        """The samples that count as the loader's: of its Dataset those that its sampler draws in every pass."""
        drawn: Tensor | None = part_of_every_pass(loader)
        whole: Any = loader.dataset
        if drawn is None:
            return whole
        self.notices.append(
            f"{name} draws {len(drawn)} of the {len(whole)} samples of its Dataset: these are measured, and no other"
        )
        return Subset(whole, drawn.tolist())

    def _set(self, loader: DataLoader[Any], part: Any, name: str, own: Tensor) -> MapSet | TensorSet:
        labels = class_indices(own, self.values, name)
        collate = None if loader.collate_fn is torch.utils.data.default_collate else loader.collate_fn
        tensors = tensors_of(part, name) if collate is None else None
        if tensors is not None:
            return TensorSet(tensors[0], labels, len(self.values))
        first = read(part, 0, name)
        if collate is None:
            example = input_of(split(first, f"{name}[0]")[0], f"{name}[0]")[None]
        else:
            example = input_of(split(collate([first]), f"{name}: a batch")[0], f"{name}: a batch")
        shape = tuple(example.shape[1:])
        data = MapSet(part, torch.arange(len(own)), labels, own, len(self.values), shape, example.dtype, name, collate)
        draws = random_draws(data)
        remedy = REMEDIES["test"] if self._sets else "dataset=torch measures dataset.evaluation in its place"
        if draws is not None:
            self.notices.append(OWN_DRAWS % name if draws == "own" else RANDOM % (name, remedy))
        return data

    def _placed(self, split: str) -> MapSet | TensorSet:
        """A set, what is in memory moved (once) to the device of `setup`, of the trainer, or the CPU."""
        self._sets[split] = on_device(self._sets[split], self._root_device())
        return self._sets[split]

    def _warn_of_order(self, loader: DataLoader[Any]) -> None:
        self._given_order = not has_known_order(loader)
        if has_own_batches(loader):
            self.notices.append(
                f"{self._name}.train_dataloader() is of type {type(loader).__name__}, which makes its batches itself: "
                "these are trained on, and measured are the samples of its Dataset as they are"
            )
        elif self._given_order:
            sampler = loader.batch_sampler if loader.batch_size is None else loader.sampler
            self.notices.append(
                f"{self._name}.train_dataloader() has the order of its own {type(sampler).__name__}: what it draws "
                "from the global generators is a function of (seed, epoch), and whether an interrupted run continues "
                "exactly depends on the rest of it"
                + (" and on its workers, which keep their generators" if loader.persistent_workers else "")
            )

    @property
    @override
    def train(self) -> MapSet | TensorSet:
        if not self._sets:
            raise RuntimeError(f"{self._name} has no samples yet; call prepare_data() and setup() first")
        return self._sets["train"]

    @override
    def train_dataloader(self) -> "MapLoader | TensorLoader | GivenLoader":
        loader, data = self._loaders["train"], self._placed("train")
        common: dict[str, Any] = {"seed": self.order_seed, "epoch": self._epoch(), "dtype": self._dtype()}
        if self._given_order:
            return GivenLoader(loader, f"{self._name}.train_dataloader(): a batch", self.values, **common)
        common |= {"shuffle": isinstance(loader.sampler, RandomSampler), "drop_last": loader.drop_last}
        if isinstance(data, TensorSet):
            return TensorLoader(data, loader.batch_size, **common)
        return MapLoader(data, loader.batch_size, num_workers=loader.num_workers, keep_workers=True, **common)

    @override
    def measure_loader(
        self, split: str = "train", batch_size: int | None = None, per_class: int | None = None
    ) -> MapLoader | TensorLoader:
        """Every sample of the Dataset of a split once, in its order; `batch_size` None takes that of its loader.

        `per_class` takes at most the first samples of each class. Raises ValueError for another split than train and
        test, and for test where there is neither a loader for it nor one for validation.
        """
        check_split(split)
        if split not in self._sets:
            raise ValueError(
                f"split=test has no sample, as {self._name} has neither test_dataloader nor val_dataloader; "
                "measure.splits=[train] leaves it out"
            )
        data, loader = self._placed(split), self._loaders[split]
        data = data if per_class is None else data.head(per_class)
        size = batch_size or loader.batch_size or MEASURED_AT_ONCE  # none of a loader with a sampler of batches
        if isinstance(data, TensorSet):
            return TensorLoader(data, size, shuffle=False)
        return MapLoader(data, size, shuffle=False, num_workers=loader.num_workers)


def is_own(module: Any, method: str) -> bool:
    """Whether a module has its own method of that name, and not Lightning's; `from_datasets` gives it to the object."""
    if method in getattr(module, "__dict__", {}):
        return True
    of = getattr(type(module), method, None)
    return of is not None and not of.__module__.startswith(("pytorch_lightning.", "lightning."))


def _described(loader: Any) -> str:
    return type(loader).__name__ if not isinstance(loader, DataLoader) else "one with batch_size=None"
