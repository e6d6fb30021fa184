"""The run folder: its tables and files, its state, and how they are read. Only `writer` imports torch."""
