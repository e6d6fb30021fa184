"""What `scripts/robustness.py` found: the outcome of every claim while a setting that the paper leaves open is varied.

A file `robustness.json` beside the record of an experiment: one setting differs from the experiment at a time, and one
entry, without a factor, is the experiment itself with the same few seeds.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ncbench.records.small_files import BadRecordsError, read_json
from ncbench.records.whole_files import write_text

__all__ = ["ROBUSTNESS", "ROBUSTNESS_PICTURE", "Variation", "Varied", "read_varied", "write_varied"]

ROBUSTNESS, ROBUSTNESS_PICTURE = "robustness.json", "robustness.png"
SCHEMA = 1


@dataclass(frozen=True)
class Variation:
    """One setting: `factor` is the key that differs from the experiment ("" for none), `value` what it is instead.

    `claims` maps a claim's name to {paper_claim, outcome, measured}.
    """

    factor: str
    value: str
    hashes: list[str]
    claims: dict[str, dict[str, Any]]

    @property
    def label(self) -> str:
        """How a reader names it: `model.width=40`, or the experiment as it is."""
        return f"{self.factor}={self.value}" if self.factor else "as in the experiment"


@dataclass(frozen=True)
class Varied:
    """An experiment at varied settings. `experiment_hashes` are its configurations as its file has them."""

    experiment: str
    experiment_hashes: list[str]
    command: str
    machine: str
    wall_seconds: float
    variations: list[Variation] = field(default_factory=list)

    def outcomes(self, name: str) -> list[tuple[str, str]]:
        """(setting, outcome) of a claim, the experiment itself first."""
        return [
            (variation.label, str(variation.claims[name]["outcome"]))
            for variation in self.variations
            if name in variation.claims
        ]

    def changed(self) -> dict[str, list[str]]:
        """Claim -> the settings in which its outcome is another one than in the experiment itself."""
        own = {name: claim["outcome"] for v in self.variations if not v.factor for name, claim in v.claims.items()}
        found: dict[str, list[str]] = {}
        for variation in self.variations:
            for name, claim in variation.claims.items():
                if variation.factor and claim["outcome"] != own.get(name):
                    found.setdefault(name, []).append(f"{variation.label}: {claim['outcome']}")
        return found


def write_varied(varied: Varied, folder: Path) -> Path:
    """Writes robustness.json into the folder."""
    path = folder / ROBUSTNESS
    content = {"schema_version": SCHEMA, **asdict(varied)}
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def read_varied(folder: Path) -> Varied | None:
    """What robustness.json of the folder holds, or None without one; BadRecordsError where it is something else."""
    path = folder / ROBUSTNESS
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        if content.pop("schema_version") != SCHEMA:
            raise BadRecordsError(f"{path} was written by another version of this package; run the script again")
        variations = [Variation(**entry) for entry in content.pop("variations")]
        return Varied(**content, variations=variations)
    except (AttributeError, KeyError, TypeError) as error:
        raise BadRecordsError(f"{path}: no findings at varied settings ({error})") from None
