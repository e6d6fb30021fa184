"""Random clusters, always the same."""

from collections.abc import Callable

import pytest
import torch

Clusters = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def clusters() -> Clusters:
    """(H (*leading, N, D) float64, labels (N,)): every class present, uneven counts, means of norm about 1."""

    def make(seed=0, K=4, D=7, N=40, std=0.3, offset=0.0, leading=()):
        rng = torch.Generator().manual_seed(seed)
        labels = torch.cat([torch.arange(K), torch.randint(0, K, (N - K,), generator=rng)])
        labels = labels[torch.randperm(N, generator=rng)]
        means = torch.randn(*leading, K, D, generator=rng, dtype=torch.float64) / D**0.5
        noise = torch.randn(*leading, N, D, generator=rng, dtype=torch.float64) / D**0.5
        return offset + means[..., labels, :] + std * noise, labels

    return make
