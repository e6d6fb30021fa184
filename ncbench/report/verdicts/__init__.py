"""Judges claims on recorded numbers."""

SCHEMA_VERSION = 2  # of claims.json; 1: claims without a name and a source
