"""Points in memory: what an ensemble of fully connected networks trains on, whole, in every gradient step.

Source: arXiv 2402.03991, Section 2 (pairs (x_i, y_i), autoencoders with y = x) and Section 5 (the loss on class means).
Letters: R replicas, N samples sorted by class, K classes, d inputs, c targets. A set that all replicas share has R = 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["PointSet", "one_hot_targets", "refuse_noises"]


@dataclass(frozen=True, eq=False)
class PointSet:
    """N pairs of K classes for R replicas: inputs (R or 1, N, d), targets (R or 1, N, c), labels (N,) int64, sorted.

    `autoencoder` says that the targets are the inputs. All values are float64.

    Raises ValueError for another dtype or shape, for labels that are out of range, not sorted or leave a class empty,
    for values that are not finite, and for an autoencoder with other targets.
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor
    num_classes: int
    autoencoder: bool = False

    def __post_init__(self) -> None:
        if self.labels.dtype != torch.int64 or self.labels.dim() != 1:
            raise ValueError(f"labels must be int64 of shape (N,), not {self.labels.dtype} {tuple(self.labels.shape)}")
        N, K = len(self.labels), self.num_classes
        for name, points in (("inputs", self.inputs), ("targets", self.targets)):
            if points.dtype != torch.float64 or points.dim() != 3 or points.shape[1] != N:
                raise ValueError(
                    f"{name} must be float64 of three dimensions, the second of length {N}, not {points.dtype} "
                    f"{tuple(points.shape)}"
                )
            if not points.isfinite().all():
                raise ValueError(f"{name} must be finite, and {int((~points.isfinite()).sum())} values are not")
        if {len(self.inputs), len(self.targets)} - {1, self.replicas} or not self.replicas:
            raise ValueError(
                f"targets of {len(self.targets)} replicas do not fit inputs of {len(self.inputs)}; give 1 or as many"
            )
        low, high = (int(self.labels.min()), int(self.labels.max())) if N else (0, 0)
        if low < 0 or high >= K:
            raise ValueError(f"labels must lie in 0..{K - 1}, not {low}..{high}")
        if (self.labels.diff() < 0).any():
            raise ValueError("labels must be sorted by class")
        counts = torch.bincount(self.labels, minlength=K).tolist()
        if 0 in counts:
            raise ValueError(f"labels must have a sample of every class, and class {counts.index(0)} of {K} has none")
        if self.autoencoder and not torch.equal(self.inputs, self.targets):
            raise ValueError("targets must be the inputs where autoencoder=True")

    @property
    def replicas(self) -> int:
        """R, 1 where all replicas share one set."""
        return max(len(self.inputs), len(self.targets))

    @property
    def num_samples(self) -> int:
        """N"""
        return len(self.labels)

    @property
    def dimension(self) -> int:
        """d"""
        return self.inputs.shape[2]

    @property
    def per_class(self) -> int | float:
        """N/K, an int where it is whole."""
        N, K = self.num_samples, self.num_classes
        return N / K if N % K else N // K

    def measure_loader(
        self, split: str = "train", batch_size: int | None = None, per_class: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """One full batch: (indices (N,) int64, labels (N,) int64); `batch_size` is ignored.

        Raises ValueError for another split than train, and for any `per_class`.
        """
        if split != "train":
            raise ValueError(f"split={split} must be train, as full-batch problems have no other samples")
        if per_class is not None:
            raise ValueError(f"per_class={per_class} must be None, as a full-batch problem is measured whole")
        return [(torch.arange(self.num_samples, device=self.labels.device), self.labels)]

    def with_centroids(self, centroids: Sequence[bool]) -> "PointSet":
        """One replica per entry of `centroids`: where it is true, every input and target is the mean of its class.

        Section 5: xbar_i = (1/N_k) sum_{j in C_k} x_j for i in C_k, with EMPIRICAL means, and the targets likewise.
        A shared set becomes len(centroids) sets. Raises ValueError for none, or another number than there are replicas.
        """
        if not centroids or self.replicas not in (1, len(centroids)):
            raise ValueError(f"centroids={list(centroids)} must be one choice for each replica ({self.replicas})")
        member = torch.nn.functional.one_hot(self.labels, self.num_classes).to(self.inputs)
        counts = member.sum(0)[:, None]
        replaced = torch.tensor(list(centroids), dtype=torch.bool, device=member.device)[:, None, None]

        def exchange(points: Tensor) -> Tensor:
            # The sums first, then the division: the mean of one-hot targets is then exactly one-hot.
            means = member.mT @ points / counts
            return torch.where(replaced, means[:, self.labels], points)

        inputs = exchange(self.inputs)
        return replace(self, inputs=inputs, targets=inputs if self.autoencoder else exchange(self.targets))

    def to(self, device: torch.device | str) -> "PointSet":
        """The same set with its tensors on `device`; itself where they are there already."""
        if self.inputs.device == torch.device(device):
            return self
        inputs = self.inputs.to(device)
        targets = inputs if self.autoencoder else self.targets.to(device)
        return replace(self, inputs=inputs, targets=targets, labels=self.labels.to(device))


def one_hot_targets(labels: Tensor, num_classes: int) -> Tensor:
    """(1, N, K) float64 for labels (N,) int64: the targets of a classification, shared by all replicas."""
    return torch.nn.functional.one_hot(labels, num_classes).double()[None]


def refuse_noises(noises: Sequence[float] | None) -> None:
    """ValueError where noise levels are asked of a dataset that has none."""
    if noises is not None:
        raise ValueError(f"noises={list(noises)} must be None, as this dataset has no noise level")
