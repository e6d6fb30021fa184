"""Batches against the definition; what is kept in memory; what is left alone."""

import pytest
import torch

from ncbench.data import EpochLoader, ImageSet, augment, epoch_order

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(50) // 10, 5)


def load(data, batch_size, **options):
    return EpochLoader(data, batch_size, mean=MEAN, std=STD, **options)


def normalised(images):
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((images.double() / 255 - mean) / std).float()


def together(loader):
    xs, ys = zip(*loader, strict=True)
    return torch.cat(xs), torch.cat(ys)


def test_evaluation_takes_every_image_once_in_order(data):
    loader = load(data, 16, shuffle=False)
    sizes = [len(y) for _, y in loader]
    assert sizes == [16, 16, 16, 2]
    assert len(loader) == 4
    x, y = together(loader)
    torch.testing.assert_close(x, normalised(data.images), rtol=0, atol=2e-6)
    assert x.dtype == torch.float32
    assert torch.equal(y, data.labels)


def test_training_is_order_then_augmentation_then_normalisation(data):
    loader = load(data, 16, seed=4, epoch=lambda: 7, augment=True)
    x, y = together(loader)
    order = epoch_order(4, 7, 50)
    expected = augment(data.images[order], order, seed=4, epoch=7)
    torch.testing.assert_close(x, normalised(expected), rtol=0, atol=2e-6)
    assert torch.equal(y, data.labels[order])


@pytest.mark.parametrize("size", [1, 7, 50, 64, None])
def test_images_do_not_depend_on_the_batch_size(data, size):
    options = {"seed": 1, "epoch": lambda: 2, "augment": True}
    for got, expected in zip(together(load(data, size, **options)), together(load(data, 16, **options)), strict=True):
        assert torch.equal(got, expected)


def test_lengths(data):
    assert [len(load(data, b)) for b in (1, 16, 25, 50, 64, None)] == [50, 4, 2, 1, 1, 1]
    assert [len(load(data, b, drop_last=True)) for b in (16, 25, 64)] == [3, 2, 0]
    assert [len(y) for _, y in load(data, 16, drop_last=True)] == [16, 16, 16]
    assert list(load(data, 64, drop_last=True)) == []
    assert load(data, None).batch_size == 50


def test_the_epoch_is_asked_when_the_pass_begins(data):
    now = [3]
    loader = load(data, 50, epoch=lambda: now[0])
    batches = iter(loader)
    now[0] = 4
    assert torch.equal(next(batches)[1], data.labels[epoch_order(0, 3, 50)])
    assert torch.equal(next(iter(loader))[1], data.labels[epoch_order(0, 4, 50)])


def test_without_an_epoch_the_passes_are_counted(data):
    loader = load(data, 50)
    for epoch in range(3):
        assert torch.equal(next(iter(loader))[1], data.labels[epoch_order(0, epoch, 50)])


def test_memory_format(data):
    for x, _ in load(data, 16, augment=True, channels_last=True):
        assert x.is_contiguous(memory_format=torch.channels_last)
    assert all(x.is_contiguous() for x, _ in load(data, 16))


def test_no_generator_is_touched_and_the_images_stay_uint8(data):
    before, state = data.images.clone(), torch.get_rng_state()
    for options in ({"augment": True}, {"shuffle": False}, {"shuffle": False, "augment": True}):
        for x, _ in load(data, 16, **options):
            x.zero_()  # what a careless model may do to its input
    assert torch.equal(torch.get_rng_state(), state)
    assert data.images.dtype == torch.uint8
    assert torch.equal(data.images, before)


def test_errors(data):
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        load(data, 0)
    with pytest.raises(ValueError, match="data must hold at least one sample"):
        load(ImageSet(data.images[:0], data.labels[:0], 5), 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_batches_on_a_gpu(data):
    options = {"seed": 1, "epoch": lambda: 2, "augment": True}
    x, y = together(load(data.to("cuda"), 16, **options))
    assert x.is_cuda
    expected, labels = together(load(data, 16, **options))
    torch.testing.assert_close(x.cpu(), expected, rtol=0, atol=1e-6)
    assert torch.equal(y.cpu(), labels)
