"""The pages that a reader opens: a report of runs, and the index of the papers' figures."""
