"""The pictures of docs/concepts.md, made by the program: geometries of class means, and a network that collapses.

    python scripts/concept_figures.py [--out docs/images]     5 seconds on one core

concepts-geometries.png has the Gram matrices and singular values of ten class means in three closed forms;
concepts-collapse.png the two features of a small network, trained with weight decay, at three epochs.
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ncbench.core import frames, gram_cosines, numerical_rank
from ncbench.measure import measure_network
from ncbench.report.figures import style
from ncbench.report.figures.style import Plot, panels, styled

CLASSES = 10
VERTICES = 5  # of the complete graph whose ten edges are the classes
EPOCHS = (0, 20, 2000)
COLOURS = ("#0072b2", "#d55e00", "#009e73")


def geometries() -> dict[str, Tensor]:
    """Ten class means in closed form, a row each (K, d): DNC without and with the mean taken off, SRG, and pairs."""
    return {
        "DNC, ReLU:\northogonal": frames.orthogonal_frame(CLASSES),
        "DNC, linear:\nsimplex ETF": frames.simplex_etf(CLASSES),
        "SRG:\nedges of a graph": frames.triangular_incidence(VERTICES).mT,
        "pairs:\nopposite directions": frames.pair_blocks(CLASSES),
    }


@styled
def draw_geometries() -> Plot:
    """Cosines of the class means above, singular values below."""
    shown = geometries()
    figure, axes = panels(2, len(shown), 2.3, 2.1)
    images = []
    for (name, means), top, bottom in zip(shown.items(), *axes, strict=True):
        images.append(top.imshow(gram_cosines(means), vmin=-1, vmax=1, cmap="RdBu_r"))
        top.set(title=name, xticks=[], yticks=[])
        values = torch.linalg.svdvals(means @ means.mT).sqrt()
        bottom.bar(range(1, CLASSES + 1), values / values[0], color="0.4")
        bottom.set(xlabel=f"singular values: rank {int(numerical_rank(means))}", xticks=[1, 5, 10], ylim=(0, 1.05))
    figure.colorbar(images[-1], ax=axes[0], label="cosine", shrink=0.8)
    return figure


def trained() -> list[tuple[int, Tensor, Tensor, float]]:
    """(epoch, features (N, 2), labels (N,), relative TCV) of a network with two features, at each of EPOCHS."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(150) % 3
    centres = 2 * torch.randn(3, 8, generator=generator)
    inputs = centres[labels] + torch.randn(150, 8, generator=generator)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    network = nn.Sequential(body, nn.Linear(2, 3))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=150)
    found = []
    for epoch in range(max(EPOCHS) + 1):
        if epoch in EPOCHS:
            table = measure_network(network, loader, layers=["0"], num_classes=3)
            value = table.loc[table["measure"] == "tcv_relative", "value"].iloc[0]
            found.append((epoch, body(inputs).detach(), labels, float(value)))
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(inputs), torch.eye(3)[labels])
        torch.autograd.backward(loss)
        optimizer.step()
    return found


@styled
def draw_collapse(snapshots: list[tuple[int, Tensor, Tensor, float]]) -> Plot:
    """The features of every sample and the class means, a panel for each epoch."""
    figure, axes = panels(1, len(snapshots), 2.9, 2.9)
    for ax, (epoch, features, labels, value) in zip(axes.flat, snapshots, strict=True):
        _scatter(ax, features, labels)
        ax.set(title=f"epoch {epoch}: relative TCV {value:.2g}", xticks=[], yticks=[])
    return figure


def _scatter(ax: Axes, features: Tensor, labels: Tensor) -> None:
    for label, colour in enumerate(COLOURS):
        own = features[labels == label]
        x, y = own.T.tolist()
        ax.scatter(x, y, s=9, alpha=0.5, color=colour)
        x, y = own.mean(0).tolist()
        ax.scatter(x, y, s=90, marker="x", color=colour)


def main() -> int:
    """Write the two pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "images")
    arguments = parser.parse_args()
    if not arguments.out.is_dir():
        parser.error(f"--out {arguments.out}: no such directory")
    torch.set_num_threads(1)
    pictures = {"concepts-geometries": draw_geometries(), "concepts-collapse": draw_collapse(trained())}
    for name, figure in pictures.items():
        (arguments.out / f"{name}.png").write_bytes(style.to_light_png(figure, 110))
    return 0


if __name__ == "__main__":
    sys.exit(main())
