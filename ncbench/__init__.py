"""ncbench: neural collapse versus low-rank bias, reproducible with one command.

The names below are resolved on first use (PEP 562), so that `import ncbench`, `--help` and the commands
that only read configuration never import torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncbench.measure import MeasureCollapse as MeasureCollapse
    from ncbench.measure import measure_network as measure_network
    from ncbench.run.build import load_run as load_run

_HOME = {
    "MeasureCollapse": "ncbench.measure",
    "measure_network": "ncbench.measure",
    "load_run": "ncbench.run.build",
}

__all__ = ["MeasureCollapse", "__version__", "load_run", "measure_network"]

try:
    __version__ = version("ncbench")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+checkout"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ncbench' has no attribute {name!r}")
