"""The offline W&B run says what the records say, also after a stop; nothing is sent anywhere."""

import json
import subprocess
import sys

import pytest

from ncbench.report import load_measures
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs

# wandb's own models warn on import with this pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")

OVERRIDES = ["+experiment=dufm_k10", "replicate.seed=3", "schedule.steps=40", "measure.points=6"]
OVERRIDES += ["logger=wandb_offline", "trainer.progress=false", "trainer.checkpoint_seconds=0"]


def execute(folder):
    (composed,) = compose_jobs(OVERRIDES, multirun=False)
    return run_execute.execute(composed.config, folder, command="test")


def history(folder):
    """(number of segments, rows) of the offline run, read back by wandb's own inspector."""
    segments = [d for d in (folder / "wandb").glob("offline-run-*") if d.is_dir()]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(segments[-1])]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    return len(segments), [record["history"]["item"] for record in records if record["type"] == "history"]


def test_history_after_a_stop_and_a_resume(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    real, seen = session.RunSession._record, []

    def stops(self, step, epoch, found):
        real(self, step, epoch, found)
        seen.append(step)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert execute(tmp_path) == 1
    assert execute(tmp_path) == 0
    segments, rows = history(tmp_path)
    assert segments == 1
    assert [row["step"] for row in rows] == [0, 1, 3, 6, 16, 40]
    measures = load_measures(tmp_path, measures=["dnc1"], layers=["head.2"], steps=[40])
    median = measures[measures.stage == "post"].value.median()
    assert rows[-1]["head.2.post.dnc1"] == pytest.approx(median, rel=1e-12)
