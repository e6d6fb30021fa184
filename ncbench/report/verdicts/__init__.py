"""Judges claims on recorded numbers."""
