"""Judges claims on recorded numbers: `judge` asks `checks`, `trends` or `boundary`, and `decide` settles the answer.

`overall` makes one verdict of several claims; `selection` and `layers` choose the recorded values.
"""

SCHEMA_VERSION = 2  # of claims.json; 1: claims without a name and a source
