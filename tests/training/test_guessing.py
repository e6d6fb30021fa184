"""A classifier that ends at the accuracy of guessing says so in one line, and one that has learned says nothing."""

import pytest

from ncbench import train
from ncbench.training.guessing import guessing_notice

TINY = ["trainer.max_epochs=20", "dataset.per_class=12", "dataset.batch_size=60", "measure.points=2"]


@pytest.mark.parametrize(
    ("accuracy", "counts", "guessed"),
    [
        # N = 900, p = 1/10: three standard errors are 3 sqrt(0.09 / 900) = 0.03.
        (0.1, [90] * 10, True),
        (0.129, [90] * 10, True),
        (0.131, [90] * 10, False),
        # N = 100, p = 0.8: 3 sqrt(0.16 / 100) = 0.12.
        (0.8, [80, 20], True),
        (0.91, [80, 20], True),
        (0.93, [80, 20], False),
        (1.0, [60] * 10, False),
    ],
)
def test_three_standard_errors_above_the_largest_class(accuracy, counts, guessed):
    assert (guessing_notice(accuracy, counts) is not None) == guessed


@pytest.mark.parametrize(
    ("learning", "said"),
    [
        (["optimizer=sgd", "optimizer.lr=0.05", "objective.weight_decay=1"], True),
        (["optimizer=adam", "optimizer.lr=3e-3", "objective.weight_decay=0"], False),
    ],
)
def test_a_run_says_so_at_its_end_and_in_its_log(learning, said, tmp_path, capsys):
    """With a decay of 1 every weight is drawn to zero; without any, 20 epochs of Adam learn 120 digits."""
    folder = tmp_path / "run"
    arguments = [*TINY, *learning, "claims=null", f"hydra.run.dir={folder}", "trainer.progress=false"]
    assert train.main(["+experiment=digits_mlp", *arguments]) == 0
    line = "is that of guessing (10 classes, the largest with a share of 0.1)"
    assert (line in capsys.readouterr().out) == said
    assert (line in (folder / "ncbench.log").read_text()) == said
