"""Which of the papers' geometries the class means of every measured layer form."""

from typing import Any

from ncbench.core.classify import classify_geometry
from ncbench.measure.measures import Measurement

__all__ = ["named_geometries"]


def named_geometries(measurement: Measurement) -> dict[str, Any] | None:
    """What `ncbench.core.classify_geometry` calls the class means, for the replica with the lowest loss.

    None where the measurement kept no class means. Else {"replica": r, "of": {"head.2.pre": ...}}, for every layer and
    stage with finite means the name, the residual max |G - template| (G the Gram matrix over its mean diagonal) and
    whether the means were centred; None where no geometry is within the tolerance of 0.05. Without a loss, or where
    none is finite, the replica is 0.

    >>> import torch
    >>> frame = Measurement(means={("head.1", "post"): torch.eye(3)[None]})
    >>> named_geometries(frame)["of"]["head.1.post"]["name"]
    'orthogonal_frame'
    """
    if not measurement.means:
        return None
    losses = [x for (_, layer, _, name), x in measurement.values.items() if (layer, name) == ("", "loss")]
    finite = losses[0].nan_to_num(nan=float("inf")) if losses else None
    best = int(finite.argmin()) if finite is not None else 0
    of: dict[str, Any] = {}
    for (layer, stage), means in measurement.means.items():
        # What does not depend on the replica (the inputs) is kept once for all.
        chosen = means[min(best, len(means) - 1)]
        if chosen.isfinite().all():
            geometry = classify_geometry(chosen.detach().double().cpu())
            of[f"{layer}.{stage}"] = None if geometry is None else geometry._asdict()
    return {"replica": best, "of": of}
