"""The line of progress: whole values on one line of the terminal, whatever its width."""

import io
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from ncbench.training.objectives import Decayed, PaperObjective
from ncbench.training.progress import ProgressLine, decay_table, progress_text

VALUES = ["loss 0.000123", "acc 0.912", "head.11 dnc1 1.23e-05"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_it_fits_and_cuts_no_value(width):
    line = progress_text(width, 123456, 2000000, "steps", 3723.0, 59000.0, VALUES)
    assert len(line) <= width
    said = {"123456/2000000 steps", "1:02:03, 16:23:20 left", *VALUES}
    parts = line.split("  ")
    assert all(part in said or set(part) <= {"━", "─"} for part in parts)
    if width >= 120:
        assert said <= set(parts)


def test_the_bar_has_the_share_that_is_done():
    bar = progress_text(80, 3, 4, "epochs", 9.0, 3.0, []).rsplit("  ", 1)[1]
    assert bar == "━" * 15 + "─" * 5
    assert progress_text(80, 4, 4, "epochs", 12.0, None, []) == "4/4 epochs  0:12  " + "━" * 20


def test_a_terminal_of_80_columns_shows_times_and_values():
    said = io.StringIO()
    console = Console(file=said, width=80, force_terminal=True, color_system=None)
    values = {("train", "", "", "loss"): torch.tensor([0.5, 0.25, 1.0]), ("train", "head.3", "post", "dnc1"): 1e-3}
    values = {key: torch.as_tensor(value) for key, value in values.items()}
    line = ProgressLine(console, lambda: SimpleNamespace(values=values), ("head.3", "post"))
    module = SimpleNamespace(ends=[100, 300000], gd_step=0)
    trainer = SimpleNamespace(
        lightning_module=module,
        fit_loop=SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=0))),
    )
    line.on_train_start(trainer, module)
    module.gd_step = 300000
    line.on_train_epoch_end(trainer, module)
    line.on_train_end(trainer, module)
    assert re.search(r"300000/300000 steps  \d+:\d\d  loss 0.5  head.3 dnc1 0.001  ━+\n", said.getvalue())
    assert "…" not in said.getvalue()


@pytest.mark.parametrize(
    ("names", "classifier", "rows"),
    [
        (("head.1.weight", "features.a"), None, ["head.1.weight", "1 other parameters (backbone)"]),
        (("body.fc.weight", "body.a"), "body.fc", ["body.fc.weight", "1 other parameters"]),
    ],
)
def test_the_table_of_decays_names_the_last_layer_and_calls_a_backbone_what_is_one(names, classifier, rows):
    (last, other), free = (Decayed(name, torch.zeros(2, 3), 1e-3) for name in names), [("x", torch.zeros(4))]
    table = decay_table(PaperObjective("mse", [last], None, 9), free, classifier)
    assert list(table.columns[0].cells) == [rows[0], rows[1]]
    assert list(table.columns[1].cells) == ["6", "4"]
    table = decay_table(PaperObjective("mse", [last, other], None, 9), [], classifier)
    assert list(table.columns[0].cells) == [rows[1], rows[0]]
