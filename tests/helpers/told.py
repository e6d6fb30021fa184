"""A watcher of executors that remembers what it was told."""

from collections import defaultdict


class Told:
    def __init__(self) -> None:
        self.places: dict[int, list[str]] = defaultdict(list)
        self.reasons: dict[int, list[str]] = defaultdict(list)
        self.said: list[str] = []

    def started(self, job, place):
        self.places[job.number].append(place)

    def ended(self, job, reason, seconds, *, refused=False):
        self.reasons[job.number].append(reason)

    def done_elsewhere(self, job):
        self.reasons[job.number].append("")

    def says(self, text):
        self.said.append(text)

    def tick(self, running, waiting, elsewhere):
        pass
