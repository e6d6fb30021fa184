"""The papers and their figures: what the index of results has a place for, reproduced or not yet.

Imports nothing but the standard library: a configuration that names a figure is checked against this table before a
run starts. Paper and version are separate entries where the versions have different figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["FORMS", "PAPERS", "Paper", "PaperFigure", "check_reproduces", "figure_numbers"]

FORMS = ("quick", "paper")  # quick: minutes on two CPU cores; paper: the size of the paper


@dataclass(frozen=True)
class PaperFigure:
    """A figure, or a part of one that carries its own claim."""

    number: str
    shows: str


@dataclass(frozen=True)
class Paper:
    """A paper under the short name that its folder of experiments has."""

    key: str
    arxiv: str
    title: str
    figures: tuple[PaperFigure, ...]


def _figures(shown: Mapping[str, str]) -> tuple[PaperFigure, ...]:
    return tuple(PaperFigure(number, shows) for number, shows in shown.items())


PAPERS = (
    Paper(
        "sukenik24",
        "2405.14468",
        "Neural Collapse versus Low-rank Bias: Is Deep Neural Collapse Really Optimal?",
        _figures(
            {
                "1": "class means and Gram matrices of the SRG and the DNC solution, L = 4, K = 10",
                "2 top": "DUFM, L = 4, K = 10: loss against the DNC and SRG lines, DNC1, singular values",
                "2 bottom": "ResNet20 and 4-layer head on CIFAR-10, DUFM-like regularisation: the same",
                "3 left": "ratio of the SRG to the DNC loss against r, L = 3, 4, 5",
                "3 middle": "average rank at convergence against weight decay",
                "3 right": "probability of a DNC solution against width",
                "4": "ResNet20 and 5-layer head, standard weight decay, CIFAR-10 and MNIST: DNC1, spectra, Gram",
                "5": "solutions found for K = 3, 4, 5",
                "6": "K = 15, L = 7: singular values early and late in the network",
                "7": "solutions just below SRG, K = 6",
                "8": "solutions just below SRG, K = 15",
                "9": "ResNet20 on CIFAR-10: rank against weight decay and learning rate",
                "10": "ResNet20 on MNIST: rank against standard weight decay",
            }
        ),
    ),
    Paper(
        "zangrando24",
        "2402.03991v1",
        "Neural Rank Collapse: Weight Decay and Small Within-Class Variability Yield Low-Rank Bias",
        _figures(
            {
                "1": "distance of the weights to rank K over weight decay and within-class spread, tanh autoencoder",
                "2": "deep linear autoencoder: distance of the full and the centroid solution",
                "3": "MNIST: singular value tails and TCV per layer over epochs, several decays",
                "4": "MNIST: soft rank of an intermediate matrix against width",
                "5": "average rank against depth",
            }
        ),
    ),
    Paper(
        "zangrando26",
        "2402.03991v3",
        "Provable Emergence of Deep Neural Collapse and Low-Rank Bias in L2-Regularized Nonlinear Networks",
        _figures(
            {
                "1": "distance of the weights to rank K over weight decay and within-class spread",
                "2": "predicted and trained singular values as the decay of the first layer goes to zero",
                "3": "100 initialisations: TCV, rank and loss during training",
                "4": "residual network: norms of the intermediate weights against the prediction",
                "5": "block structure of the features' Gram matrices per epoch and layer",
                "6": "its content was not in the sources read",
            }
        ),
    ),
    Paper(
        "garrod24",
        "2410.23169",
        "The Persistence of Neural Collapse Despite Low-Rank Bias: An Analytic Perspective Through "
        "Unconstrained Features",
        _figures(
            {
                "1": "linear DUFM with cross-entropy: loss of a DNC run and a low-rank run, mean logit matrices",
                "2 left": "probability of a DNC solution against width",
                "2 right": "probability of a DNC solution against weight decay",
                "3 top": "ResNet20 and linear head, MNIST and CIFAR-10: loss against the DNC bound, singular values",
                "3 bottom": "the same with a ReLU head, L = 4, CIFAR-10",
                "4": "CIFAR-10, standard weight decay: singular values, mean logits",
                "5": "rank of the solution of gradient descent against width and weight decay",
                "6": "ReLU DUFM: loss against the DNC bound, singular values",
                "7": "MNIST, ReLU head, DUFM-like regularisation",
                "8": "MNIST, standard weight decay: singular values, mean logits",
            }
        ),
    ),
)


def check_reproduces(value: Any) -> None:
    """ValueError unless `value` is None or {paper, figure, forms, variation}.

    `paper` is a key of PAPERS, `figure` one of its figures or a list of them, `forms` some of FORMS, `variation`
    (optional) says in words how the experiment differs from the figure.
    """
    if value is None:
        return
    if not isinstance(value, Mapping) or not {"paper", "figure", "forms"} <= set(value):
        raise ValueError(f"reproduces={value}: must be null or {{paper, figure, forms, variation}}")
    unknown = sorted(set(value) - {"paper", "figure", "forms", "variation"})
    if unknown:
        raise ValueError(f"reproduces.{unknown[0]}={value[unknown[0]]}: unknown key")
    papers = {paper.key: paper for paper in PAPERS}
    if value["paper"] not in papers:
        raise ValueError(f"reproduces.paper={value['paper']}: must be one of {', '.join(papers)}")
    numbers = [figure.number for figure in papers[value["paper"]].figures]
    for figure in figure_numbers(value["figure"]):
        if figure not in numbers:
            raise ValueError(f"reproduces.figure={figure}: {value['paper']} has {', '.join(numbers)}")
    forms = value["forms"]
    listed = isinstance(forms, Sequence) and not isinstance(forms, str)
    if not listed or not forms or not set(forms) <= set(FORMS):
        raise ValueError(f"reproduces.forms={forms}: must list quick, paper or both")


def figure_numbers(figure: Any) -> list[str]:
    """The figures that `reproduces.figure` names.

    >>> figure_numbers("2 top"), figure_numbers([7, 8])
    (['2 top'], ['7', '8'])
    """
    return [str(one) for one in figure] if isinstance(figure, list | tuple) else [str(figure)]
