"""What a command imports before it answers: never asserted on time, only on what is not in sys.modules."""

import subprocess
import sys
from pathlib import Path

import pytest

from ncbench.measure import __all__ as names

HEAVY = "torch torchmetrics pytorch_lightning torchvision pandas pyarrow matplotlib scipy sklearn wandb"
ROOT = Path(__file__).parents[2]


COMMANDS = [
    ("ncbench.train", ["--help"], 0),
    ("ncbench.train", ["--list"], 0),
    ("ncbench.train", ["+experiment=dufm_k10", "schedule.stepz=1"], 2),
    ("ncbench.measure.__main__", ["--nonsense"], 2),
    ("ncbench.measure.__main__", ["no such folder"], 2),
    ("ncbench.report.__main__", ["--nonsense"], 2),
    ("ncbench.sweep.__main__", ["plan", "+experiment=dufm_k10", "seed=1,2", "hydra.sweep.dir=no such folder"], 0),
]


def test_questions_and_refusals_import_nothing_heavy():
    """One after the other in one process, which names the first of them that imports something heavy."""
    code = f"""if True:
        import importlib, sys
        for module, arguments, expected in {COMMANDS!r}:
            status = importlib.import_module(module).main(arguments)
            assert status == expected, (module, arguments, status)
            loaded = set({HEAVY!r}.split()) & set(sys.modules)
            assert not loaded, (module, arguments, loaded)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 jobs in " in done.stdout


def test_every_name_of_the_measures_is_found_where_it_is_said_to_be():
    import ncbench.measure

    for name in names:
        assert getattr(ncbench.measure, name).__name__ == name or name in ("Objective",)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ncbench.measure.nothing  # noqa: B018


def test_torch_is_imported_with_the_collector_off_and_no_logger_with_it():
    code = """if True:
        import gc
        from ncbench._cli import collector_off
        with collector_off():
            assert not gc.isenabled()
        frozen = gc.get_freeze_count()
        assert gc.isenabled() and frozen > 10_000, frozen
        with collector_off():  # torch is there: nothing is done
            assert gc.isenabled()
        assert gc.get_freeze_count() <= frozen
        import sys
        import ncbench.measure.callback, ncbench.report.__main__, ncbench.run.execute
        from ncbench.config.measuring import Logger
        from ncbench.run.logger import open_logger
        from types import SimpleNamespace
        assert open_logger(SimpleNamespace(logger=Logger()), None, {}, []) is None
        assert "wandb" not in sys.modules  # it is imported where its logger is asked for, and nowhere else
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
