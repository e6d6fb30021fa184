"""What an ensemble of fully connected networks on its data measures besides its class moments.

Source: arXiv 2402.03991: the bounds of Theorem 3.4 (3.5 in v3) with both their sides, by the gap and by TCV, and the
residual that stationarity leaves, total cluster variation by k-means, block structure of the Gram matrices (v3, Figure
5), the distance of the minimisers on all samples and on the class means (Section 5). Names and formulas:
docs/measures.md.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ncbench import core
from ncbench.analysis import end_to_end, ensemble_rank_bounds, mode_error, modes_alive
from ncbench.core.spectrum import DEAD_NORM_SQUARED
from ncbench.data import PointSet
from ncbench.measure import Measurement, kmeans_cluster_variation
from ncbench.models.replica import Layout, Perceptron, SquaredError
from ncbench.records.layers import FEATURES, head_layer, measured_by_default

__all__ = ["EnsembleMeasures"]

MOST_SAMPLES = 64  # of more samples Gram matrices are not recorded, and their blocks are looked at at the ends only
OF_PAIRS = (  # fields of EnsembleRankBounds
    *("rank_bound", "tightness"),
    *("curvature", "tcv_bound", "tcv_tightness", "tcv_bound_analytic", "tcv_tightness_analytic"),
)


class EnsembleMeasures:
    """Measures of the R networks of `network` on `points`, under the decays (R, L); all in float64.

    `matched_pairs` are pairs (replica on the samples, replica on their class means) of linear autoencoders.
    """

    def __init__(
        self,
        network: Perceptron,
        points: PointSet,
        decays: Tensor,
        *,
        matched_pairs: Sequence[tuple[int, int]],
        kmeans: bool,
    ) -> None:
        self.network, self.points, self.decays = network, points, decays
        self.matched_pairs, self.kmeans = list(matched_pairs), kmeans

    @torch.no_grad()
    def measure(self, *, ends: bool, last: bool, grams: bool) -> Measurement:
        """The further measures of the networks as they are; `ends` at the first and the `last` point of a run.

        Blocks of Gram matrices are measured at every point where there are at most MOST_SAMPLES samples.
        """
        self.points = self.points.to(self.network.weights[0].device)
        measurement = Measurement()
        self._gradient(measurement)
        few = self.points.num_samples <= MOST_SAMPLES
        if ends:
            self._bounds(measurement)
        if ends or few:
            self._blocks(measurement)
        if last and self.kmeans:
            self._clusters(measurement)
        if ends and self.network.linear_product and self.points.autoencoder:
            self._product(measurement)
        if grams and few:
            for layer, stage, z in self._features():
                measurement.sample_grams[layer, stage] = (z @ z.mT).cpu()
        return measurement

    def _gradient(self, measurement: Measurement) -> None:
        """grad_max: max |gradient of the whole objective|; dead_layers: how many have ||W_l||_F^2 below 1e-8."""
        network = self.network
        # The gradient of the whole objective on all samples, by hand and in float64 also where training is in float32.
        layout, device = Layout(network), network.weights[0].device
        flat = layout.gather(network).double()
        gradient = torch.zeros_like(flat)
        everyone = torch.arange(network.replicas, device=device)
        problem = SquaredError(
            network, layout, self.points.inputs, self.points.targets, self.decays, everyone, flat.dtype
        )
        problem(flat, gradient)
        measurement.values["train", "", "", "grad_max"] = gradient.abs().amax(1).cpu()
        # ||W_l||_F^2 of every layer, (L, R): below the threshold the layer is dead, its tails and ratios undefined.
        squares = torch.stack([W.detach().double().square().sum((1, 2)) for W in network.weights])
        measurement.values["", "", "", "dead_layers"] = (squares < DEAD_NORM_SQUARED).sum(0).double().cpu()

    def _bounds(self, measurement: Measurement) -> None:
        points, names = self.points, measured_by_default(self.network.depth)
        bounds = ensemble_rank_bounds(
            self.network.layers, points.inputs, points.targets, points.labels, self.decays.to(points.inputs)
        )
        # Of every layer: its distance from rank K, and how far from stationary it is.
        for l, name in enumerate(names[1:]):
            measurement.values["", name, "weight", "distance"] = bounds.distance[l].cpu()
            measurement.values["", name, "weight", "residual"] = bounds.residual[l].cpu()
        # Of every layer l and source layer j < l: the bounds of Theorem 3.4, and how far below them the distance is.
        for measure in OF_PAIRS:
            for (l, j), value in getattr(bounds, measure).items():
                measurement.of_sources["", names[l], "weight", measure, names[j]] = value.cpu()

    def _blocks(self, measurement: Measurement) -> None:
        """gram_block of the inputs and of every layer: v3, Figure 5, shows it epoch by epoch."""
        for layer, stage, z in self._features():
            value = core.gram_block_deviation(z, self.points.labels)
            measurement.values["train", layer, stage, "gram_block"] = value.cpu()

    def _clusters(self, measurement: Measurement) -> None:
        """By k-means from the labels' partition and ten others: a second for 64 networks and 200 samples."""
        points = self.points
        for layer, stage, z in self._features():
            # Inputs that all replicas share are clustered once.
            different = z[:1] if layer == FEATURES and points.replicas == 1 else z
            variations = [_by_kmeans(features, points) for features in different]
            for name, values in zip(("", "_relative"), zip(*variations, strict=True), strict=True):
                replica_values = torch.tensor(values, dtype=torch.float64).expand(len(z)).clone()
                measurement.values["train", layer, stage, f"tcv_kmeans{name}"] = replica_values

    def _product(self, measurement: Measurement) -> None:
        """Of linear autoencoders: how the eigenmodes of their product fit the theory, and the distance of pairs."""
        P = end_to_end([W.detach() for W in self.network.weights])
        lam = self.decays.log().mean(1).exp().to(P)  # the least of sum lam_l ||W_l||^2 knows their geometric mean only
        # Without decay there is no theory: NaN, and a decay of 1 in its place keeps the arithmetic finite.
        error = mode_error(P, self.points.inputs, lam.where(lam > 0, 1.0), self.network.depth)
        key = ("train", "", "")
        measurement.values[*key, "mode_error"] = error.where(lam > 0, torch.nan).cpu()
        measurement.values[*key, "modes_alive"] = modes_alive(P, self.points.inputs).double().cpu()
        # How far the minimiser on all samples is from that on the class means, of networks that differ in that alone.
        if self.matched_pairs:
            distance = torch.full((len(P),), torch.nan, dtype=torch.float64)
            for on_samples, on_means in self.matched_pairs:
                distance[on_samples] = (P[on_samples] - P[on_means]).norm().cpu()
            measurement.values[*key, "centroid_distance"] = distance

    def _features(self) -> list[tuple[str, str, Tensor]]:
        """Layer, stage and z^l (R, N, n_l) of the inputs and of every layer; where there is no activation stage pre."""
        indices = torch.arange(self.points.num_samples, device=self.network.features.value.device)
        z = self.network.features(indices).double()
        features = [(FEATURES, "post", z)]
        for l, layer in enumerate(self.network.layers, 1):
            # A copy in float64: measuring must not touch the network.
            z = copy.deepcopy(layer).double()(z)
            plain = layer.kind == "linear" and not layer.residual
            features.append((head_layer(l), "pre" if plain else "post", z))
        return features


def _by_kmeans(z: Tensor, points: PointSet) -> tuple[float, float]:
    """TCV and TCV over the variance of one replica; NaN where it has diverged."""
    if not bool(z.isfinite().all()):
        return math.nan, math.nan
    variation = kmeans_cluster_variation(z, points.num_classes, labels=points.labels)
    return variation.value, variation.relative
