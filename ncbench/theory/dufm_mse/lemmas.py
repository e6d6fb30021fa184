"""Least-norm weights between the layers of the SRG solution: Lemmas 12 to 14 of arXiv 2405.14468.

Letters: r vertices, T (r, K) the normalised incidence matrix with K = r(r-1)/2 columns, M_l = sqrt(alpha_l) T the class
means of the layers 2..L-1, M_L before its ReLU sqrt(alpha_L) times the row-normalised S T. Lemmas 15 and 16 (spectra
of M_2 and H_L) are `srg_spectra`, Lemmas 17 and 18 `last_layer_ridge` and `nuclear_factorisation`. The displayed
formulas were not available; these are derived.
"""

from torch import Tensor

from ncbench.core import frames
from ncbench.theory.arguments import at_least, positive

__all__ = ["hidden_weight_norm", "interpolant_norm", "last_hidden_weight_norm"]


def interpolant_norm(h: Tensor, vertices: int, alpha: float = 1.0) -> float:
    """Lemma 12: least ||w||^2 with w^T sqrt(alpha) T = h^T, for h (K,) in the row space of T.

    (T h)^T (T T^T)^(-2) (T h) / alpha, where T T^T = ((r-2) I + 1 1^T)/(r-1), so that

        (T T^T)^(-2) = ((r-1)/(r-2))^2 [I - (3r-4)/(4 (r-1)^2) 1 1^T].

    Raises ValueError for h of another length, or outside the row space by more than 1e-8 of its length.
    """
    r, scale = at_least("vertices", vertices, 3), float(positive("alpha", alpha))
    T = frames.triangular_incidence(r)
    if h.shape != T.shape[1:]:
        raise ValueError(f"h must have {T.shape[1]} entries for {r} vertices, got shape {tuple(h.shape)}")
    image = T @ h.to(T.dtype)
    inverse = (r - 1) / (r - 2) * (image - image.sum() / (2 * (r - 1)))  # (T T^T)^(-1) T h, the w of alpha = 1
    if (T.mT @ inverse - h).norm() > 1e-8 * h.norm():
        raise ValueError("h must lie in the row space of T (no w interpolates it)")
    square = image.square().sum() - (3 * r - 4) / (4 * (r - 1) ** 2) * image.sum().square()
    return float(((r - 1) / (r - 2)) ** 2 * square / scale)


def hidden_weight_norm(vertices: int, alpha: float, next_alpha: float) -> float:
    """Lemma 13: least ||W_l||_F^2 with W_l M_l = M_{l+1}, 2 <= l <= L-2: r alpha_{l+1} / alpha_l.

    Raises:
        ValueError: fewer than 3 vertices, or an alpha that is not positive.
    """
    return at_least("vertices", vertices, 3) * float(positive("next_alpha", next_alpha) / positive("alpha", alpha))


def last_hidden_weight_norm(vertices: int, alpha: float, next_alpha: float) -> float:
    """Lemma 14: least ||W_{L-1}||_F^2 with W_{L-1} M_{L-1} = M_L: K^2 alpha_L / ((r^2 - 5r + 8) alpha_{L-1}).

    Raises:
        ValueError: fewer than 4 vertices, or an alpha that is not positive.
    """
    r = at_least("vertices", vertices, 4)
    K = r * (r - 1) // 2
    return K**2 / (r**2 - 5 * r + 8) * float(positive("next_alpha", next_alpha) / positive("alpha", alpha))
