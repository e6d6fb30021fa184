"""Atlas of the deep unconstrained features model: best known loss, rank and geometry of every cell (K, L, decay).

Cross-entropy, linear (arXiv 2410.23169): K <= 12, L <= 6. Mean squared error, ReLU (arXiv 2405.14468): K <= 21,
2 <= L <= 7. `scripts/atlas.py` makes the table; docs/results/atlas draws it and says what is not proven.
`ce.atlas_line` and `mse.atlas_line` are its losses as lines on the axis of a run.
"""

from ncbench.theory.atlas_table.entries import AtlasEntry, entries
from ncbench.theory.atlas_table.lookup import atlas

__all__ = ["AtlasEntry", "atlas", "entries"]
