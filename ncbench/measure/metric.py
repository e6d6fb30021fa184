"""`CollapseMetric`: collapse of given features as a torchmetrics Metric, exact over batches and processes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from ncbench.core import ClassMoments
from ncbench.measure.coverage import check_range
from ncbench.measure.measures import OF_MOMENTS, ON_REQUEST
from ncbench.measure.missing_classes import check_missing_classes, classes_with_samples, of_classes
from ncbench.measure.packing import merged, pack, unpack

__all__ = ["CollapseMetric"]


class CollapseMetric(Metric):
    """The measures that class moments give, of features (N, D) seen batch by batch.

    compute() returns {measure: 0-dim float64 tensor} for tcv, tcv_relative, dnc1, cdnv, etf_error,
    orthogonal_frame_error, equinorm and equiangularity (see `ncbench.measure.measures`); `moments()` the class
    moments themselves, for any other function of `ncbench.core`.

    Of a batch that lacks a class, as `forward` and the sanity check of a LightningModule see them, the values that need
    every class mean are NaN; with missing_classes="skip" they are those of the classes that have samples. Features that
    are not finite give NaN too: what a training may meet does not end it. `moments().finalise()` says what is wrong.

    States, both tensors, no lists: `state` (K, 2D + 2) float64 (`ncbench.measure.packing`) and `label_range` (2,).
    They do not add up; their dist_reduce_fx is Chan's merge of the processes' moments, exact at any level of collapse,
    where sums of squares in float32 are not. Updates are out of place (processes of ddp_spawn share the memory of the
    defaults), `set_dtype` is refused, and the `to` and `half` of a module that holds the metric leave it: float64
    is the point. A Lightning DistributedSampler repeats samples; the metric cannot know, so give it a loader that does
    not.

    Raises:
        ValueError: num_classes < 2, num_features < 1, missing_classes neither nan nor skip; in update, shapes that do
            not fit; in compute, labels out of range.

    Examples:
        >>> metric = CollapseMetric(num_classes=2, num_features=1)
        >>> metric.update(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 0]))
        >>> metric.update(torch.tensor([[10.0], [14.0]]), torch.tensor([1, 1]))
        >>> metric.compute()["tcv"].item()  # (1 + 1 + 4 + 4) / 4
        2.5
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    state: Tensor
    label_range: Tensor

    def __init__(self, num_classes: int, num_features: int, *, missing_classes: str = "nan", **options: Any) -> None:
        super().__init__(**options)
        check_missing_classes(missing_classes)
        self.missing_classes = missing_classes
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes} must be at least 2")
        if num_features < 1:
            raise ValueError(f"num_features={num_features} must be at least 1")
        self.num_classes, self.num_features = num_classes, num_features
        nothing = ClassMoments.from_batch(torch.zeros(0, num_features), torch.zeros(0, dtype=torch.int64), num_classes)
        state, label_range = pack(nothing)
        self.add_state("state", state, dist_reduce_fx=_merged_states)
        self.add_state("label_range", label_range, dist_reduce_fx=_merged_ranges)

    @override
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch: features (N, D) of any floating dtype, labels (N,) integers."""
        if features.ndim != 2 or features.shape[1] != self.num_features:
            raise ValueError(f"features must be (N, {self.num_features}), got {tuple(features.shape)}")
        batch = ClassMoments.from_batch(features, labels, self.num_classes)
        self.state, self.label_range = pack(self.moments().merge(batch))

    @override
    def compute(self) -> dict[str, Tensor]:
        """Every measure of the samples seen since the last reset, on all processes."""
        moments = self.moments()
        check_range(moments.label_range, self.num_classes)
        present = classes_with_samples(moments)
        if self.missing_classes == "skip" and len(present):
            moments = of_classes(moments, present)
        values = {name: measure(moments) for name, measure in OF_MOMENTS.items()}
        on_request = {
            name: measure(moments, torch.float64) for name, measure in ON_REQUEST.items() if name != "tcv_floor"
        }
        return {**values, **on_request}

    def moments(self) -> ClassMoments:
        """The class moments of the samples seen since the last reset, unchecked."""
        return unpack(self.state, self.label_range)

    @override
    def set_dtype(self, dst_type: str | torch.dtype) -> "CollapseMetric":
        if dst_type not in (torch.float64, "torch.float64", "torch.DoubleTensor"):
            raise ValueError(f"dst_type={dst_type} must be torch.float64, the dtype of a CollapseMetric's states")
        return self

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> "CollapseMetric":
        """Move the states as the module that the metric is in is moved, but never to another dtype."""

        def moved(x: Tensor) -> Tensor:
            probe = fn(x.new_empty(0))
            return fn(x) if probe.dtype == x.dtype else x.to(probe.device)

        super()._apply(moved, exclude_state)
        return self


def _merged_states(states: Tensor) -> Tensor:
    nothing = torch.zeros(len(states), 2, dtype=torch.int64, device=states.device)
    return pack(merged(states, nothing))[0]


def _merged_ranges(ranges: Tensor) -> Tensor:
    return torch.stack([ranges[:, 0].amin(), ranges[:, 1].amax()])
