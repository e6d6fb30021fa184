"""Jobs and their run folders: identity, state, lock. Imports no torch."""

from ncbench.sweep.identity import config_hash, run_id
from ncbench.sweep.states import RunFolder, RunState, write_json

__all__ = ["RunFolder", "RunState", "config_hash", "run_id", "write_json"]
