"""Tokens as a Dataset, a network that embeds them, and one that normalises vectors over the batch."""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


class Tokens(Dataset):
    """Sequences of 7 tokens below 12; those of the class c begin with c."""

    def __init__(self, samples: int = 24) -> None:
        self.tokens = torch.randint(12, (samples, 7), generator=torch.Generator().manual_seed(0))
        self.tokens[:, 0] = torch.arange(samples) % 3

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.tokens[index], index % 3


class Embeds(nn.Module):
    """The mean of embedded tokens, and a classifier."""

    def __init__(self, num_classes: int, known: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(known, 8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.embedding(tokens).mean(1))


class Normed(nn.Module):
    """Batch normalisation of vectors; or (`squeezed`) none, and a batch of one loses its first dimension."""

    def __init__(self, num_classes: int, squeezed: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.fc = nn.Linear(64, num_classes)
        self.squeezed = squeezed

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        return self.fc(h.squeeze() if self.squeezed else self.norm(h))
