"""Reads run folders and makes tables, figures and a page of them; needs no torch.

Names are resolved on first use (PEP 562): pandas and matplotlib are imported when something is read or drawn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncbench.records.load import load_grams as load_grams
    from ncbench.records.load import load_means as load_means
    from ncbench.records.load import load_references as load_references
    from ncbench.records.load import load_replicas as load_replicas
    from ncbench.records.load import load_run_info as load_run_info
    from ncbench.records.load import load_sample_grams as load_sample_grams
    from ncbench.records.load import load_spectra as load_spectra
    from ncbench.records.runs import find_runs as find_runs
    from ncbench.report import figure
    from ncbench.report.asked import load_measures as load_measures
    from ncbench.report.comparison import compare_runs as compare_runs

__all__ = [
    "compare_runs",
    "figure",
    "find_runs",
    "load_grams",
    "load_means",
    "load_measures",
    "load_references",
    "load_replicas",
    "load_run_info",
    "load_sample_grams",
    "load_spectra",
]


def __getattr__(name: str) -> Any:
    if name == "figure":
        return import_module("ncbench.report.figure")
    if name == "load_measures":
        return import_module("ncbench.report.asked").load_measures
    if name == "compare_runs":
        return import_module("ncbench.report.comparison").compare_runs
    if name in __all__:
        return getattr(import_module("ncbench.records.load"), name)
    raise AttributeError(f"module 'ncbench.report' has no attribute {name!r}")
