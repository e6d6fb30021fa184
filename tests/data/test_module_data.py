"""Any LightningDataModule as data of a run: its order, its splits, its draws, and what is refused."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from ncbench.data import ModuleData, TorchData, epoch_order, given_loader
from ncbench.data.adopt import as_run_data
from ncbench.data.given_loader import GivenLoader
from ncbench.data.map_loader import MapLoader
from ncbench.data.tensors import TensorLoader

NUMBERED = torch.arange(11.0)[:, None] + torch.zeros(11, 2)
LABELS = torch.arange(11) % 2 + 3
DATA = TensorDataset(NUMBERED, LABELS)


class Plain(Dataset):
    """The same samples, not as tensors."""

    def __len__(self):
        return 11

    def __getitem__(self, i):
        return {"image": NUMBERED[i], "label": LABELS[i]}


class Module(pl.LightningDataModule):
    """Made of functions, so that each test says what its loaders are."""

    def __init__(self, train, val=None, test=None, setup=None):
        super().__init__()
        self.given = {"train": train, "val": val, "test": test, "setup": setup}
        self.calls = []

    def prepare_data(self):
        self.calls.append("prepare_data")

    def setup(self, stage):
        self.calls.append(stage)
        if self.given["setup"]:
            self.given["setup"](self)

    def train_dataloader(self):
        return self.given["train"](self)


class WithVal(Module):
    def val_dataloader(self):
        return self.given["val"](self)


class WithTest(WithVal):
    def test_dataloader(self):
        return self.given["test"](self)


def loader(dataset=DATA, **options):
    return lambda _: DataLoader(dataset, **({"batch_size": 4} | options))


def ready(module):
    data = ModuleData(module)
    for _ in range(2):
        data.prepare_data()
        data.setup()
    return data


def passed(batches):
    xs, ys = zip(*batches, strict=True)
    return torch.cat(xs)[:, 0].tolist(), torch.cat(ys).tolist()


@pytest.mark.parametrize("dataset", [DATA, Plain()], ids=["memory", "loader"])
def test_a_shuffled_loader_has_the_order_of_seed_and_epoch(dataset):
    data = ready(Module(loader(dataset, shuffle=True, drop_last=True)))
    assert data.module.calls == ["prepare_data", "fit"]
    assert (data.num_classes, data.input_shape, len(data.train), data.train.counts) == (2, (2,), 11, [6, 5])
    assert data.notices == []
    ours = data.train_dataloader()
    assert isinstance(ours, TensorLoader if dataset is DATA else MapLoader)
    for epoch in range(2):
        order = epoch_order(0, epoch, 11)[:8]  # the last batch would have 3
        assert passed(ours) == (order.tolist(), (order % 2).tolist())
    # Measured are all, in the order of the Dataset.
    assert passed(data.measure_loader()) == (list(range(11)), [i % 2 for i in range(11)])
    assert passed(data.measure_loader(per_class=2, batch_size=1)) == ([0, 2, 1, 3], [0, 0, 1, 1])


def test_an_unshuffled_loader_keeps_its_order():
    ours = ready(Module(loader(Plain()))).train_dataloader()
    assert [passed(ours)[0] for _ in range(2)] == [list(range(11))] * 2


def test_a_collate_function_makes_the_batches():
    def doubled(samples):
        return {"x": torch.stack([s["image"] for s in samples]).repeat(1, 2), "y": [int(s["label"]) for s in samples]}

    data = ready(Module(loader(Plain(), shuffle=True, collate_fn=doubled)))
    assert data.input_shape == (4,)
    order = epoch_order(0, 0, 11)
    assert passed(data.train_dataloader()) == (order.tolist(), (order % 2).tolist())

    def turned(samples):
        return doubled(samples[::-1])

    wrong = ready(Module(loader(Plain(), collate_fn=turned)))
    with pytest.raises(
        ValueError, match=r"^Module.train_dataloader\(\)\[0\]: has the label 4, and had 3 when the labels"
    ):
        list(wrong.measure_loader())


def weighted(module):
    return DataLoader(DATA, batch_size=4, sampler=WeightedRandomSampler(torch.ones(11), 40))


def test_a_sampler_of_its_own_is_left_and_seeded(mutant):
    data = ready(Module(weighted))
    (notice,) = data.notices
    assert notice.startswith("Module.train_dataloader() has the order of its own WeightedRandomSampler: what it draws")
    ours, again = data.train_dataloader(), data.train_dataloader()
    assert isinstance(ours, GivenLoader)
    assert len(ours) == 10
    assert ours.sizes == sorted({len(y) for _, y in ours}) == [4]
    ours, again = data.train_dataloader(), data.train_dataloader()
    state = torch.get_rng_state()
    first, second = passed(ours), passed(ours)
    assert torch.equal(torch.get_rng_state(), state)
    assert first != second
    torch.rand(3)
    assert [passed(again), passed(again)] == [first, second]
    assert first[1] == [int(i) % 2 for i in first[0]]
    assert passed(data.measure_loader())[0] == list(range(11))  # each once, whatever the sampler takes
    forgetful = mutant(given_loader, "hash64(self.seed, ORDER, epoch)", "hash64(self.seed, ORDER)")
    same = forgetful.GivenLoader(weighted(None), "a batch", data.values)
    assert passed(same) == passed(same)


def test_inputs_that_are_not_finite_are_refused_in_every_order():
    spoilt = TensorDataset(NUMBERED.clone().index_fill(0, torch.tensor([5]), float("nan")), LABELS)
    samples = [spoilt[i] for i in range(11)]
    own = {"sampler": RandomSampler(samples, num_samples=44, replacement=True)}
    for options in ({"shuffle": True}, {"collate_fn": lambda batch: torch.utils.data.default_collate(batch)}, own):
        with pytest.raises(ValueError, match=r"^Module.train_dataloader\(\).*: its input must be finite"):
            list(ready(Module(loader(samples, **options))).train_dataloader())


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"shuffle": True}, True),
        ({}, True),
        ({"sampler": RandomSampler(DATA, replacement=True)}, False),
        ({"sampler": RandomSampler(DATA, num_samples=5)}, False),
        ({"batch_sampler": BatchSampler(SequentialSampler(DATA), 4, False), "batch_size": 1}, False),
        ({"batch_sampler": [[0, 1], [2]], "batch_size": 1}, False),
    ],
)
def test_which_orders_are_known(options, known):
    data = ready(Module(loader(**options)))
    assert isinstance(data.train_dataloader(), TensorLoader) is known
    assert bool(data.notices) is not known


def test_splits():
    only = ready(Module(loader()))
    assert only.test is None
    with pytest.raises(ValueError, match=r"^split=test has no sample, as Module has neither test_dataloader"):
        only.measure_loader("test")
    few = loader(TensorDataset(NUMBERED[:3], LABELS[:3]))
    with_val = ready(WithVal(loader(), val=few))
    assert with_val.module.calls == ["prepare_data", "fit"]
    assert passed(with_val.measure_loader("test")) == ([0, 1, 2], [0, 1, 0])
    with_test = ready(WithTest(loader(), val=loader(), test=few))
    assert with_test.module.calls == ["prepare_data", "fit", "test"]
    assert len(with_test.test) == 3
    other = loader(TensorDataset(torch.zeros(2, 5), LABELS[:2]))
    with pytest.raises(
        ValueError, match=r"^WithVal.val_dataloader\(\): has inputs of shape \(5,\), and train of shape \(2,\)"
    ):
        ready(WithVal(loader(), val=other))
    whole = loader(TensorDataset(NUMBERED[:2].long(), LABELS[:2]))
    with pytest.raises(
        ValueError, match=r"^WithVal.val_dataloader\(\): has inputs of whole numbers \(torch.int64\), and"
    ):
        ready(WithVal(loader(), val=whole))
    with pytest.raises(ValueError, match=r"^WithVal.val_dataloader\(\)\[1\]: has the label 9, which no"):
        ready(WithVal(loader(), val=loader(TensorDataset(NUMBERED[:2], torch.tensor([3, 9])))))


def test_a_random_split_is_the_same_whenever_it_is_drawn():
    def setup(module):
        module.parts = random_split(DATA, [8, 3])

    def make():
        return ready(
            WithTest(lambda m: DataLoader(m.parts[0], 4), None, lambda m: DataLoader(m.parts[1], 4), setup=setup)
        )

    torch.manual_seed(1)
    one = make()
    torch.manual_seed(2)
    two = make()
    numbers = passed(one.measure_loader())[0]
    assert numbers == passed(two.measure_loader())[0]
    # `setup` is called for fit and for test: the second split must not mix into the first.
    assert sorted(numbers + passed(one.measure_loader("test"))[0]) == list(range(11))


class Endless(IterableDataset):
    def __iter__(self):
        return iter([])


class Nothing(pl.LightningDataModule):
    pass


class OfPoints(pl.LightningDataModule):
    points = None


class Moves(Module):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Module(loader(Endless())), r"^Module.train_dataloader\(\): Endless must be a map-style Dataset"),
        (
            Module(lambda _: [1, 2]),
            r"^Module.train_dataloader\(\) must return one torch DataLoader .*, not list",
        ),
        (Module(loader(batch_size=None)), r"must return one torch DataLoader of batches, not one with batch_size=None"),
        (
            Moves(loader()),
            r"^Moves.on_after_batch_transfer would not be called; do its work in the",
        ),
    ],
)
def test_refused_in_one_line(module, message):
    with pytest.raises(ValueError, match=message) as error:
        ready(module)
    assert "\n" not in str(error.value)


def test_number_of_classes_of_the_module():
    module = Module(loader(TensorDataset(NUMBERED, LABELS - 3)))
    module.num_classes = 3
    with pytest.raises(ValueError, match=r"^Module.train_dataloader\(\): num_classes=3 needs a sample of every"):
        ready(module)
    module.num_classes = 2
    assert ready(module).num_classes == 2


def test_what_a_yaml_makes():
    own = ready(Module(loader()))
    assert as_run_data(own) is own
    of_full_batch = OfPoints()
    assert as_run_data(of_full_batch) is of_full_batch
    assert isinstance(as_run_data(Module(loader())), ModuleData)
    assert isinstance(as_run_data(Plain()), TorchData)
    assert isinstance(as_run_data(DATA), TorchData)
    labelled = Module(loader())
    labelled.labels = LABELS
    assert isinstance(as_run_data(labelled), ModuleData)
    with pytest.raises(ValueError, match=r"^_target_: Nothing has no train_dataloader of its own"):
        as_run_data(Nothing())
    for made in (3, torch.nn.Identity()):
        with pytest.raises(ValueError, match=r"^_target_: makes a value of type \w+, which is neither a torch Dataset"):
            as_run_data(made)
    with pytest.raises(ValueError, match=r"^train: Endless must be a map-style Dataset"):
        as_run_data(Endless())


SPLIT = [9, 2, 4, 7]


@pytest.mark.parametrize(
    ("options", "measured"),
    [
        ({"sampler": SubsetRandomSampler(SPLIT)}, [2, 4, 7, 9]),
        ({"sampler": SubsetRandomSampler(SPLIT, generator=torch.Generator())}, [2, 4, 7, 9]),
        ({"sampler": SPLIT}, [2, 4, 7, 9]),
        ({"batch_sampler": BatchSampler(SubsetRandomSampler(SPLIT), 3, False), "batch_size": 1}, [2, 4, 7, 9]),
        ({"sampler": RandomSampler(DATA, num_samples=5)}, list(range(11))),  # others in every pass
        ({"sampler": WeightedRandomSampler(torch.ones(11), 4)}, list(range(11))),
        ({"sampler": SubsetRandomSampler(range(11))}, list(range(11))),
    ],
)
@pytest.mark.parametrize("samples", [DATA, Plain()], ids=["tensors", "samples"])
def test_what_a_sampler_leaves_out_is_neither_counted_nor_measured(samples, options, measured):
    data = ready(WithVal(loader(samples, **options), loader(samples, **options)))
    for split in ("train", "test"):
        assert passed(data.measure_loader(split))[0] == measured
    assert len(data.train) == len(measured)
    said = [notice for notice in data.notices if "these are measured, and no other" in notice]
    assert len(said) == (2 if len(measured) < 11 else 0)
    if said:
        assert said[0].startswith("WithVal.train_dataloader() draws 4 of the 11 samples of its Dataset")
    assert set(passed(data.train_dataloader())[0]) <= set(measured)


def test_looking_at_a_sampler_leaves_its_generator_as_it_was():
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    ready(Module(loader(DATA, sampler=SubsetRandomSampler(SPLIT, generator=generator))))
    assert torch.equal(generator.get_state(), before)
