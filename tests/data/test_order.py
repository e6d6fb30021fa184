"""The hash against published numbers, order and augmentation against loops, and what they may depend on."""

import random

import pytest
import torch

from ncbench.data.order import augment, crop_flip_draws, epoch_order, hash64, mix64

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """Vigna's splitmix64.c on Python's unbounded integers."""
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def signed(word: int) -> int:
    return (word + 2**63) % 2**64 - 2**63


def test_mix64_gives_the_published_splitmix64_sequence():
    # The first outputs for the seed 1234567, as many implementations of splitmix64 list them for checking.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = torch.tensor([signed(1234567 + (k + 1) * 0x9E3779B97F4A7C15) for k in range(4)])
    assert [v % 2**64 for v in mix64(states).tolist()] == expected


def test_hash64_is_its_definition_on_python_integers():
    rng = random.Random(0)
    for _ in range(50):
        words = [rng.getrandbits(64) for _ in range(3)]
        state = 0
        for word in words:
            state = splitmix64(((state ^ word) + 0x9E3779B97F4A7C15) & MASK)
        assert hash64(*words).item() % 2**64 == state
        assert hash64(words[0], torch.tensor(signed(words[1])), words[2]).item() % 2**64 == state


@pytest.mark.parametrize("n", [1, 2, 7, 1700])
def test_epoch_order_is_a_permutation_of_its_own(n):
    order = epoch_order(3, 5, n)
    assert torch.equal(order.sort().values, torch.arange(n))
    assert torch.equal(order, epoch_order(3, 5, n))


def test_orders_of_epochs_and_seeds_are_unrelated():
    orders = torch.stack([epoch_order(seed, epoch, 2000) for seed in range(3) for epoch in range(3)])
    correlation = torch.corrcoef(orders.double()) - torch.eye(9)
    assert correlation.abs().max() < 5 / 2000**0.5


def test_every_image_comes_first_equally_often():
    first = torch.tensor([epoch_order(0, epoch, 8)[0] for epoch in range(4000)])
    assert (torch.bincount(first, minlength=8) - 500).abs().max() < 5 * (500 * 7 / 8) ** 0.5


def test_draws_are_uniform_and_independent():
    dy, dx, mirrored = crop_flip_draws(torch.arange(100_000), seed=0, epoch=0, crop_padding=1)
    cells = torch.bincount(dy * 6 + dx * 2 + mirrored.long(), minlength=18)
    chi2 = ((cells - 100_000 / 18) ** 2 / (100_000 / 18)).sum()
    assert chi2 < 50  # 17 degrees of freedom: exceeded with probability 4e-5
    assert set(dy.tolist()) == set(dx.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (1, False), (0, True), (0, False)])
@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (4, 1, 7, 5)])
def test_augment_is_the_loop(padding, flip, shape):
    B, _, H, W = shape
    images = torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    indices = torch.tensor([17, 3, 40_000, 0, 8])[:B]
    got = augment(images, indices, seed=9, epoch=2, crop_padding=padding, flip=flip)
    expected = torch.zeros_like(images)
    dy, dx, mirrored = crop_flip_draws(indices, seed=9, epoch=2, crop_padding=padding)
    for b in range(B):
        for i in range(H):
            for j in range(W):
                across = W - 1 - j if flip and mirrored[b] else j
                y, x = i + int(dy[b]) - padding, across + int(dx[b]) - padding
                if 0 <= y < H and 0 <= x < W:
                    expected[b, :, i, j] = images[b, :, y, x]
    assert got.dtype == torch.uint8
    assert torch.equal(got, expected)
    assert torch.equal(augment(images.float(), indices, seed=9, epoch=2, crop_padding=padding, flip=flip), got.float())


def test_augment_depends_on_seed_epoch_and_index_not_on_the_batch():
    images = torch.randint(0, 256, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    indices = torch.arange(1000, 1064)
    whole = augment(images, indices, seed=1, epoch=4)
    one_by_one = [augment(images[i : i + 1], indices[i : i + 1], seed=1, epoch=4) for i in range(64)]
    assert torch.equal(whole, torch.cat(one_by_one))
    backwards = augment(images.flip(0), indices.flip(0), seed=1, epoch=4)
    assert torch.equal(whole, backwards.flip(0))
    for other in ({"seed": 2, "epoch": 4}, {"seed": 1, "epoch": 5}):
        assert not torch.equal(whole, augment(images, indices, **other))
    assert not torch.equal(whole, augment(images, indices + 64, seed=1, epoch=4))
