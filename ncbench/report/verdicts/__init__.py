"""Judges claims on recorded numbers: `judge` asks `checks`, `trends` or `boundary`, and `decide` gives the outcome.

`settle` says what follows for the paper, from one experiment or from all; `selection` and `layers` choose the recorded
values; `varied` reads what `scripts/robustness.py` found at other settings.
"""

SCHEMA_VERSION = 3  # of claims.json; 2: verdicts without outcomes; 1: claims without a name and a source
