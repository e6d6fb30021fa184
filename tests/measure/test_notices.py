"""A warning is given once for each callback or call, not once in a process: the second network is warned about too."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ncbench.measure import MeasureCollapse, measure_network
from ncbench.measure import notices as notices_module
from ncbench.measure.notices import Notices
from tests.helpers.foreign_module import Plain

K = 3
X, Y = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), torch.arange(K).repeat(4)


class Functional(Plain):
    """An activation that is a function, a layer that is never called, and a measure that fails."""

    def __init__(self):
        super().__init__([(X, Y)], K)
        self.body = nn.Linear(5, 6)
        self.unused = nn.Linear(5, 6)

    def forward(self, x):
        return self.fc(self.body(x).relu())


def broken(moments):
    raise RuntimeError("no such thing")


WARNINGS = (
    "layer body: relu is applied to its output from outside",
    "layer unused is not called in the forward pass",
    "the measure broken failed and is NaN: no such thing",
)


def counts(text):
    return [text.count(warning) for warning in WARNINGS]


def trained():
    """Four measurements of a new network by a new callback."""
    callback = MeasureCollapse(["body", "unused"], [(X, Y)], K, moments={"broken": broken})
    options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    pl.Trainer(max_epochs=3, accelerator="cpu", callbacks=[callback], **options).fit(Functional())
    assert len(callback.table().epoch.unique()) == 4


def test_every_callback_says_each_warning_once(caplog):
    trained()
    assert counts(caplog.text) == [1, 1, 1]
    trained()
    assert counts(caplog.text) == [2, 2, 2]


def test_every_call_of_measure_network_says_each_warning_once(caplog):
    loaders = {"train": [(X[:6], Y[:6]), (X[6:], Y[6:])], "test": [(X, Y)]}
    for calls in (1, 2):
        measure_network(Functional(), loaders, layers=["body", "unused"], num_classes=K, moments={"broken": broken})
        assert counts(caplog.text) == [calls] * 3


def test_topics_and_subjects_are_told_apart(caplog):
    notices = Notices()
    for topic in ("a", "b"):
        for subject in ("x", "y", "x"):
            notices.warn(topic, subject, "%s of %s", topic, subject)
    assert [record.message for record in caplog.records] == ["a of x", "a of y", "b of x", "b of y"]


def test_another_reason_is_another_warning_and_another_number_is_not(caplog):
    notices = Notices()
    for reason in (
        "3 classes are empty",
        "4 classes are empty",
        "a value of 1.5e-07 is too small",
        "it is 2.0",
        "it is 3",
    ):
        notices.warn("measure", "dnc1 body post", "NaN: %s", reason)
    said = ["NaN: 3 classes are empty", "NaN: a value of 1.5e-07 is too small", "NaN: it is 2.0"]
    assert [record.message for record in caplog.records] == said


@pytest.mark.parametrize(
    "reason",
    [
        lambda i: f"<Layer object at {hex(0x7F0000ABCDEF + 4096 * i)}> has no weight",
        lambda i: f"the value {[1.0, -2.5e-07, float('inf'), float('nan'), -float('inf')][i % 5]} is refused",
        lambda i: f"of [{', '.join(str(-0.5 * n) for n in range(i + 1))}] one is refused",
    ],
    ids=["an address", "a value", "a list"],
)
def test_fifty_reasons_that_differ_in_a_value_are_one_warning(reason, caplog):
    notices = Notices()
    for i in range(50):
        notices.warn("measure", "dnc1 body post", "NaN: %s", reason(i))
    assert len(caplog.records) == 1
    assert len(notices._given) == 1


def test_a_planted_bug_that_keeps_them_for_the_process_is_seen(mutant, caplog):
    bug = mutant(
        notices_module, "        self._given: dict[tuple[str, str], object] = {}", "        self._given = GIVEN"
    )
    bug.GIVEN = {}
    for _ in range(2):
        bug.Notices().warn("measure", "broken", "a warning")
    with pytest.raises(AssertionError):
        assert caplog.text.count("a warning") == 2
