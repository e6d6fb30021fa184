"""What a reader is told about a measure: its label, unit and scale, and where it is defined.

One table for the whole report: axis labels, the tables per layer and the list of measures at the foot of a page read
it. A measure of a run's own (`measure.moments.NAME` or `measure.matrices.NAME` in the configuration) may give `label`,
`unit` and `scale` beside its `_target_`; what it does not give is its name, no unit, and a scale chosen from the data.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ncbench.records.cache import cached
from ncbench.records.proven_files import proven_yaml
from ncbench.records.runs import Dir, named_runs
from ncbench.records.schema import CONFIG

__all__ = ["MEASURES", "SCALES", "MeasureInfo", "known_measures", "scale_of"]

SCALES = ("linear", "log", "symlog")
WIDE = 30  # from this ratio of the largest to the smallest value on a linear axis shows only the largest
DOCS = "docs/measures.md"


@dataclass(frozen=True)
class MeasureInfo:
    """A measure as a reader meets it.

    `label` is plain text; `axis` is what stands on an axis, with mathematics where that says more. `unit` is "" for a
    pure number. `scale` is one of SCALES, or "" where the values decide. `defined` says where the definition stands.
    """

    name: str
    label: str
    scale: str = ""
    axis: str = ""
    unit: str = ""
    defined: str = DOCS

    @property
    def axis_label(self) -> str:
        """The text of an axis, as matplotlib reads it: with the unit in brackets, where there is one."""
        text = self.axis or self.label.replace("$", r"\$")  # a label from a configuration is no mathematics
        return text + (f" [{self.unit}]".replace("$", r"\$") if self.unit else "")

    @property
    def heading(self) -> str:
        """The text of a column: the label with the unit in brackets, where there is one."""
        return self.label + (f" [{self.unit}]" if self.unit else "")


# In the order in which a table shows them.
_TABLE = (
    MeasureInfo("loss", "loss", "log"),
    MeasureInfo("fit", "fit", "log"),
    MeasureInfo("regulariser", "regulariser", "log"),
    MeasureInfo("accuracy", "accuracy", "linear"),
    MeasureInfo("dnc1", "DNC1", "log", r"DNC1: $\mathregular{tr}\,\Sigma_W \,/\, \mathregular{tr}\,\Sigma_B$"),
    MeasureInfo("tcv_relative", "TCV / total variance", "log"),
    MeasureInfo("tcv", "TCV", "log"),
    MeasureInfo("tcv_floor", "TCV of rounding", "log"),
    MeasureInfo("tcv_kmeans_relative", "TCV by k-means / total variance", "log"),
    MeasureInfo("tcv_kmeans", "TCV by k-means", "log"),
    MeasureInfo("dnc2", "DNC2", "log", r"DNC2: $\sigma_1 \,/\, \sigma_K$"),
    MeasureInfo("rank", "numerical rank", "linear"),
    MeasureInfo("stable_rank", "stable rank", "linear"),
    MeasureInfo("effective_rank", "effective rank", "linear"),
    MeasureInfo("soft_rank", "soft rank (Marchenko-Pastur)", "linear"),
    MeasureInfo("negative_share", "negative share of the norm", "log"),
    MeasureInfo("tail", "tail", "log", "tail $r_K$"),
    MeasureInfo("leading_mass", "mass of the leading singular values", "log"),
    MeasureInfo("norm", "Frobenius norm", "log"),
    MeasureInfo("distance", "distance to rank K", "log"),
    MeasureInfo("residual", "residual", "log"),
    MeasureInfo("rank_bound", "bound of the distance", "log"),
    MeasureInfo("tightness", "distance / bound", "log"),
    MeasureInfo("curvature", "curvature of the gradients", "log", r"curvature $\hat M$ of the gradients"),
    MeasureInfo("tcv_bound", "bound of the distance by TCV", "log"),
    MeasureInfo("tcv_tightness", "distance / bound by TCV", "log"),
    MeasureInfo("tcv_bound_analytic", "bound by TCV, M of the last layer", "log"),
    MeasureInfo("tcv_tightness_analytic", "distance / bound by TCV, M of the last layer", "log"),
    MeasureInfo("gram_block", "block deviation", "log"),
    MeasureInfo("cdnv", "CDNV", "log"),
    MeasureInfo("nc1", "NC1", "log"),
    MeasureInfo("nc1_rank", "directions kept for NC1", "linear"),
    MeasureInfo("etf_error", "distance to a simplex ETF", "log"),
    MeasureInfo("orthogonal_frame_error", "distance to an orthogonal frame", "log"),
    MeasureInfo("equinorm", "equinorm", "log"),
    MeasureInfo("equiangularity", "equiangularity", "log"),
    MeasureInfo("separation_fuzziness", "separation fuzziness", "log"),
    MeasureInfo("separation_rank", "directions kept for separation fuzziness", "linear"),
    MeasureInfo("self_duality", "distance of weight and class means", "log"),
    MeasureInfo("ncc_accuracy", "accuracy of the nearest class mean", "linear"),
    MeasureInfo("ncc_mismatch", "decisions unlike the nearest class mean's", "symlog"),
    MeasureInfo("grad_max", "largest entry of the gradient", "log"),
    MeasureInfo("hessian_nullity", "zero eigenvalues of the Hessian", "linear"),
    MeasureInfo("hessian_negative", "negative eigenvalues of the Hessian", "linear"),
    MeasureInfo("hessian_logdet", "log determinant of the Hessian over the decay", "linear"),
    MeasureInfo("hessian_smallest", "smallest eigenvalue above 0 over the decay", "log"),
    MeasureInfo("dead_layers", "dead layers", "linear"),
    MeasureInfo("centroid_distance", "distance to training on the class means", "log"),
    MeasureInfo("mode_error", "distance to the modes of theory", "log"),
    MeasureInfo("modes_alive", "modes alive", "linear"),
)
MEASURES: Mapping[str, MeasureInfo] = {info.name: info for info in _TABLE}


def known_measures(dir: Dir, recorded: Iterable[str]) -> dict[str, MeasureInfo]:
    """The entry of every recorded measure by its name: those of the table in its order, then the runs' own.

    What a configuration says of a measure counts more than the table; where several runs do, the first counts.
    """
    names = list(dict.fromkeys(map(str, recorded)))
    described = _described(dir)
    ordered = [*(name for name in MEASURES if name in names), *(name for name in names if name not in MEASURES)]
    return {name: _entry(name, described.get(name, {})) for name in ordered}


@cached
def _described(dir: Dir) -> dict[str, Mapping[str, Any]]:
    """What the runs' configurations say about their own measures, by name."""
    described: dict[str, Mapping[str, Any]] = {}
    for run in named_runs(dir).values():
        config = proven_yaml(run, CONFIG)
        section = config.get("measure") if isinstance(config, dict) else None
        for kind in ("moments", "matrices"):
            entries = section.get(kind) if isinstance(section, dict) else None
            for name, entry in entries.items() if isinstance(entries, dict) else ():
                if isinstance(entry, dict):
                    described.setdefault(str(name), entry)
    return described


def _entry(name: str, described: Mapping[str, Any]) -> MeasureInfo:
    label, unit, scale, target = (described.get(key) for key in ("label", "unit", "scale", "_target_"))
    info = MEASURES.get(name, MeasureInfo(name, name, defined="" if target is None else str(target)))
    if label is not None:
        info = replace(info, label=str(label), axis="")
    if unit is not None:
        info = replace(info, unit=str(unit))
    return replace(info, scale=scale) if scale in SCALES else info


def scale_of(values: Iterable[float]) -> str:
    """The scale on which these values can be told apart: `log`, `symlog` (where some are 0 or negative) or `linear`.

    >>> scale_of([1.0, 2.0]), scale_of([1e-9, 1.0]), scale_of([-100.0, 0.0, 0.1])
    ('linear', 'log', 'symlog')
    """
    array = np.abs(np.asarray(list(values), dtype=float))
    sizes = array[np.isfinite(array) & (array > 0)]
    if not len(sizes) or sizes.max() < WIDE * sizes.min():
        return "linear"
    return "log" if all(value > 0 for value in values if np.isfinite(value)) else "symlog"
