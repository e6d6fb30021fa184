"""scikit-learn's handwritten digits: 1 797 real images of 8x8, bundled: the default, without a network."""

from collections.abc import Sequence

import torch
from sklearn.datasets import load_digits
from typing_extensions import override

from ncbench.data.datamodule import ImageData
from ncbench.data.images import ImageSet, select

__all__ = ["Digits"]


class Digits(ImageData):
    """1 x 8 x 8 images of 10 digits, 174 to 183 of each; the test split is what was not drawn for training.

    The 17 grey levels 0..16 are stored times 15, exactly, so that the full range of uint8 means the same as
    in the other sets; normalisation removes the factor. `augment` moves by one pixel (an eighth of the image,
    as 4 is of 32) and does not flip: a mirrored digit is another sign.

    ValueError for a root: the digits come with scikit-learn.

    >>> data = Digits(per_class=170)
    >>> data.setup()
    >>> len(data.train), len(data.test), data.input_shape, data.per_class
    (1700, 97, (1, 8, 8), 170)
    """

    crop_padding = 1

    def __init__(
        self,
        *,
        root: str | None = None,
        seed: int = 0,
        classes: int | Sequence[int] | None = None,
        per_class: int | None = 170,
        batch_size: int | None = 128,
        augment: bool = False,
        download: bool = True,
        channels_last: bool = True,
        imbalance: float | None = None,
        minority: float = 0.5,
        label_noise: float = 0.0,
    ) -> None:
        if root is not None:
            raise ValueError(f"root={root} must be None, as the digits come with scikit-learn")
        super().__init__(
            seed=seed,
            classes=classes,
            per_class=per_class,
            batch_size=batch_size,
            augment=augment,
            download=download,
            channels_last=channels_last,
            imbalance=imbalance,
            minority=minority,
            label_noise=label_noise,
        )

    @override
    def split(self) -> tuple[ImageSet, ImageSet]:
        bundle = load_digits()
        images = torch.from_numpy(bundle.images * 15).to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(bundle.target).to(torch.int64)
        names = [str(name) for name in bundle.target_names]
        request = (self.classes, self._per_class, self.seed)
        train = select(images, labels, *request, class_names=names)
        return train, select(images, labels, *request, class_names=names, rest=True)
