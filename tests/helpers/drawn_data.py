"""A Dataset that draws its samples when it is made, as many do, from NumPy's and torch's global generators."""

import numpy as np
import torch
from torch.utils.data import Dataset


class Drawn(Dataset[tuple[np.ndarray, int]]):
    def __init__(self, num_samples: int = 30) -> None:
        self.x = np.random.randn(num_samples, 8).astype("float32")  # noqa: NPY002 - the generator that everybody uses
        self.y = torch.cat([torch.arange(3), torch.randint(3, (num_samples - 3,))])

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.x[i], int(self.y[i])
