"""What a run may say: one dataclass per group of keys, and the rules between them. Imports no torch."""
