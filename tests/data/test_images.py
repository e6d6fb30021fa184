"""The set, the choice of classes, the draw per class."""

import pytest
import torch

from ncbench.data.images import ImageSet, chosen_classes, drawn, select


def toy(counts=(4, 3, 5, 6), seed=0):
    """Images whose pixels are their original position, in a mixed order of classes."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 3, 3).contiguous()
    return images, labels


def positions(data):
    return data.images[:, 0, 0, 0].long()


def test_everything_is_kept_sorted_by_class_then_position():
    images, labels = toy()
    data = select(images, labels)
    expected = [i for c in range(4) for i in range(18) if labels[i] == c]
    assert positions(data).tolist() == expected
    assert torch.equal(data.labels, labels[expected])
    assert data.images.dtype == torch.uint8
    assert (data.num_classes, data.counts, data.input_shape, len(data)) == (4, [4, 3, 5, 6], (2, 3, 3), 18)


def test_classes_are_relabelled_in_the_order_given():
    images, labels = toy()
    data = select(images, labels, classes=[3, 1], class_names=["a", "b", "c", "d"])
    assert data.counts == [6, 3]
    assert data.class_names == ("d", "b")
    assert labels[positions(data)].tolist() == [3] * 6 + [1] * 3
    assert torch.equal(select(images, labels, classes=2).images, select(images, labels, classes=[0, 1]).images)


def test_the_draw_does_not_depend_on_the_other_classes():
    images, labels = toy((40, 50, 60))
    alone = positions(select(images, labels, [2, 0], per_class=11, seed=3))[:11]
    together = positions(select(images, labels, None, per_class=11, seed=3))[22:]
    assert torch.equal(alone, together)
    # Nor on how the images of other classes are spread between those of this one.
    mine = labels == 2
    order = torch.cat([torch.nonzero(~mine).flatten(), torch.nonzero(mine).flatten()])
    apart = order[drawn(labels[order], 2, 11, seed=3)]
    assert torch.equal(apart, together)


def test_draws_are_nested_and_differ_between_seeds_and_classes():
    labels = torch.arange(2).repeat_interleave(200)
    small, large = (set(drawn(labels, 0, k, seed=1).tolist()) for k in (20, 90))
    assert small < large
    assert small != set(drawn(labels, 0, 20, seed=2).tolist())
    assert {i + 200 for i in small} != set(drawn(labels, 1, 20, seed=1).tolist())


def test_every_image_is_drawn_equally_often():
    labels = torch.zeros(10, dtype=torch.int64)
    hits = torch.bincount(torch.cat([drawn(labels, 0, 3, seed) for seed in range(2000)]), minlength=10)
    assert (hits - 600).abs().max() < 5 * (600 * 0.7) ** 0.5


def test_the_rest_is_the_complement():
    images, labels = toy((9, 9, 9))
    train = select(images, labels, [2, 0], per_class=6, seed=1)
    rest = select(images, labels, [2, 0], per_class=6, seed=1, rest=True)
    assert rest.counts == [3, 3]
    both = torch.cat([positions(train), positions(rest)])
    assert torch.equal(both.sort().values, torch.nonzero(labels != 1).flatten())
    assert len(select(images, labels, rest=True)) == 0


def test_mean_and_std_are_those_of_float64():
    images, labels = toy((40, 50))
    images[:, 1] = 255 - 2 * images[:, 1]
    mean, std = select(images, labels).mean_std()
    pixels = images.double() / 255
    torch.testing.assert_close(mean, pixels.mean((0, 2, 3)), rtol=1e-14, atol=0)
    torch.testing.assert_close(std, pixels.std((0, 2, 3), correction=0), rtol=1e-14, atol=0)


def test_head_takes_at_most_the_first_of_each_class():
    data = select(*toy())
    part = data.head(4)
    assert part.counts == [4, 3, 4, 4]
    assert positions(part).tolist() == [p for c in range(4) for p in positions(data)[data.labels == c][:4].tolist()]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (11, r"^classes=11 must be between 2 and 10"),
        (1, r"^classes=1 must be between 2 and 10"),
        ([3], r"^classes=\[3\] must be at least 2 different classes out of 0..9"),
        ([3, 3], r"^classes=\[3, 3\] must be at least 2 different"),
        ([0, 10], r"^classes=\[0, 10\] must be at least 2 different"),
        ([-1, 1], r"^classes=\[-1, 1\] must be at least 2 different"),
    ],
)
def test_classes_out_of_range(classes, message):
    with pytest.raises(ValueError, match=message):
        chosen_classes(classes, 10)


def test_too_few_images():
    with pytest.raises(ValueError, match=r"^per_class=4 must be at most 3, the number of images of class 1"):
        select(*toy(), per_class=4)
    with pytest.raises(ValueError, match=r"^per_class=0 must be at least 1"):
        select(*toy(), per_class=0)
    with pytest.raises(ValueError, match=r"^per_class=0 must be at least 1"):
        select(*toy()).head(0)


def test_what_is_not_an_image_set():
    images, labels = toy()
    with pytest.raises(
        ValueError, match=r"images must be uint8 of shape \(N, C, H, W\), not torch.float32 \(18, 2, 3, 3\)"
    ):
        ImageSet(images.float(), labels, 4)
    with pytest.raises(ValueError, match=r"labels must be int64 of shape \(18,\), not torch.int64 \(17,\)"):
        ImageSet(images, labels[1:], 4)
    with pytest.raises(ValueError, match=r"labels must lie in 0..2, not 0..3"):
        ImageSet(images, labels, 3)
    with pytest.raises(ValueError, match=r"class_names must be 4 names, one for each class, not 1"):
        ImageSet(images, labels, 4, ("a",))
    with pytest.raises(ValueError, match=r"channel 0 of the 18 training images is constant"):
        ImageSet(torch.zeros_like(images), labels, 4).mean_std()
