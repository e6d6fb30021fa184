"""Offline W&B runs say what the records say, also after a stop; nothing is sent anywhere."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from ncbench.training.loggers.history import History
from tests.helpers.run_folders import LAST, STEPS, write_run

# wandb's own models warn on import with this pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")

OVERRIDES = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=40", "measure.points=6"]
OVERRIDES += ["logger=wandb_offline", "trainer.progress=false", "trainer.checkpoint_seconds=0"]


def read_back(folder):
    """(records by type, rows of the history) of the only offline run in a folder, by wandb's own inspector."""
    (segment,) = [path for path in (folder / "wandb").glob("offline-run-*") if path.is_dir()]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(segment)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records = {}
    for line in map(json.loads, lines):
        records.setdefault(line["type"], []).append(line[line["type"]])
    return segment, records, [record["item"] for record in records["history"]]


def numbers_of(row):
    """The numbers of a row as they were logged; W&B writes what is not finite as a text."""
    ours = {name: x for name, x in row.items() if name.startswith(("nc/", "theory/"))}
    return {name: float(x) for name, x in ours.items()}


def media_of(row):
    """name -> path of every image, and the names of the histograms."""
    images = {name.removesuffix(".path"): x for name, x in row.items() if name.endswith(".path")}
    return images, {name.removesuffix("._type") for name, x in row.items() if x == "histogram"}


def open_run(folder, **settings):
    from ncbench.training.loggers.wandb_run import WandbRun

    given = {"run_id": "0123456789", "name": "a run", "group": "a sweep", "tags": ["model.depth=3"]}
    given |= {"config": {"seed": 1}, "project": "ncbench", "offline": True}
    return WandbRun(folder, **given | settings)


def test_read_back_from_its_file(tmp_path, monkeypatch, capfd):
    """Every number at its step and in order, NaN included, and the pictures; the key is nowhere, nothing is printed."""
    monkeypatch.setenv("WANDB_API_KEY", "a-key-that-nobody-may-read-00000000000000")
    write_run(tmp_path, [1, 2, 3])
    run = open_run(tmp_path)
    figures = tmp_path / "figures"
    figures.mkdir()
    from PIL import Image

    Image.new("RGB", (4, 3)).save(figures / "loss.png")
    for name in ("report.html", "claims.json"):
        (tmp_path / name).write_text(name)
    run.show_report(tmp_path / "report.html")
    run.close(0)
    assert capfd.readouterr() == ("", "")
    segment, records, rows = read_back(tmp_path)
    history = History(tmp_path)
    assert [row["nc/step"] for row in rows] == [*STEPS, LAST]  # the last one has the figures
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    for row in rows[:-1]:
        assert numbers_of(row) == pytest.approx(history.row(row["nc/step"]).numbers, rel=0, abs=0, nan_ok=True)
    images, histograms = media_of(rows[-2])
    recorded = history.row(LAST)
    assert (set(images), histograms) == (set(recorded.cosines), set(recorded.spectra))
    assert set(media_of(rows[-1])[0]) == {"figures/loss"}
    assert all((segment / "files" / path).is_file() for path in [*images.values(), rows[-1]["figures/loss.path"]])
    assert sum(rows[-2]["spectra/head.1/pre.values"]) == 12  # four of each replica
    (of_run,) = records["run"]
    told = {key: of_run[key] for key in ("run_id", "display_name", "run_group", "tags")}
    assert told == {"run_id": "0123456789", "display_name": "a run", "run_group": "a sweep", "tags": ["model.depth=3"]}
    (artifact,) = records["artifact"]
    assert {entry["path"] for entry in artifact["manifest"]["contents"]} == {"report.html", "claims.json"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"a-key-that-nobody" in path.read_bytes()]


def test_a_resumed_run_is_one_segment_with_its_pictures(tmp_path):
    write_run(tmp_path, [1])
    for _ in range(2):
        open_run(tmp_path).close(1)
    segment, _, rows = read_back(tmp_path)  # there is one only
    assert [row["nc/step"] for row in rows] == list(STEPS)
    images, _ = media_of(rows[-1])
    assert len(images) == 6
    assert all((segment / "files" / path).is_file() for path in images.values())


def execute(folder, *more):
    (composed,) = compose_jobs([*OVERRIDES, *more], multirun=False)
    return run_execute.execute(composed.config, folder, command="test")


@pytest.mark.parametrize(
    "values", [[1.0, 1 + 2e-16, 1 - 1e-16], [3.0] * 4, [0.0, 0.0], [1e-300, 2e-300], [2.0, math.nan]]
)
def test_a_histogram_of_values_that_are_equal_but_for_rounding(values):
    """NumPy refuses 64 bins in a range of a few units in the last place, and with it the training would have failed."""
    from ncbench.training.loggers.wandb_run import _histogram

    histogram = _histogram(np.array(values))
    assert sum(histogram.histogram) == sum(map(math.isfinite, values))
    assert np.all(np.diff(histogram.bins) > 0)


def test_a_run_that_is_killed_and_resumed(tmp_path, monkeypatch):
    real, seen = session.RunSession._record, []

    def stops(self, step, epoch, found, network):
        real(self, step, epoch, found, network)
        seen.append(step)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert execute(tmp_path, "logger.report=false") == 1
    assert execute(tmp_path, "logger.report=false") == 0
    _, records, rows = read_back(tmp_path)
    assert [row["nc/step"] for row in rows] == [0, 1, 3, 6, 16, 40]
    history = History(tmp_path)
    for row in rows:
        assert numbers_of(row) == pytest.approx(history.row(row["nc/step"]).numbers, rel=0, abs=0, nan_ok=True)
        assert row["nc/learning_rate"] == 0.5
        assert bool(media_of(row)[0]) == (row["nc/step"] in (0, 40))
    assert records["run"][0]["run_id"] == json.loads((tmp_path / "run.json").read_text())["config_hash"][:10]


OF_ITS_OWN = """
import sys
from pathlib import Path
from ncbench.training.loggers.wandb_run import WandbRun
told = dict(run_id="0123456789", name="a run", group="a sweep", tags=[], config={}, project="ncbench")
WandbRun(Path(sys.argv[1]), offline=True, **told).close(0)
"""


@pytest.mark.slow  # in a process of its own, as W&B reads the environment once
@pytest.mark.parametrize("kept_back", [False, True])
def test_what_w_and_b_finds_out_by_itself_can_be_kept_back(kept_back, tmp_path):
    """As SECURITY.md says: the command line and the name of the computer."""
    write_run(tmp_path, [1])
    variables = {"WANDB_X_DISABLE_META": "true", "WANDB_X_DISABLE_MACHINE_INFO": "true", "WANDB_HOST": "elsewhere"}
    said = (Path(__file__).resolve().parents[2] / "SECURITY.md").read_text()
    assert all(f"`{name}={value if value == 'true' else 'NAME'}`" in said for name, value in variables.items())
    command = [sys.executable, "-c", OF_ITS_OWN, str(tmp_path), "an-argument-of-mine"]
    subprocess.run(command, check=True, env=os.environ | (variables if kept_back else {}))
    segment, records, _ = read_back(tmp_path)
    (of_run,) = records["run"]
    assert (of_run["host"] == "elsewhere") == kept_back
    assert ("environment" in records) != kept_back
    files = [path.read_bytes() for path in segment.rglob("*") if path.is_file()]
    assert any(b"an-argument-of-mine" in content for content in files) != kept_back


@pytest.mark.slow
def test_a_finished_run_hands_on_its_report(tmp_path):
    assert execute(tmp_path) == 0
    segment, records, rows = read_back(tmp_path)
    images, _ = media_of(rows[-1])
    assert set(images) == {f"figures/{path.stem}" for path in (tmp_path / "figures").glob("*.png")}
    assert set(images) >= {f"figures/{name}" for name in ("loss", "collapse", "rank", "gram", "spectra", "measures")}
    assert all((segment / "files" / path).is_file() for path in images.values())
    (artifact,) = records["artifact"]
    for entry in artifact["manifest"]["contents"]:
        assert Path(entry["local_path"]).read_bytes() == (tmp_path / entry["path"]).read_bytes()
    assert {entry["path"] for entry in artifact["manifest"]["contents"]} == {"report.html", "table.csv", "claims.json"}


def test_four_jobs_of_a_grid_log_the_same_names(tmp_path):
    """The SRG solution begins at K = 6: with K = 5 there is no such line, and its name is there all the same."""
    axes = ["dataset.classes=5,10", "objective.weight_decay=1e-3,2e-3"]
    jobs = compose_jobs([*OVERRIDES, *axes, "logger.report=false", "schedule.steps=2"], multirun=True)
    assert len(jobs) == 4
    names, lines = [], []
    for number, job in enumerate(jobs):
        folder = tmp_path / str(number)
        assert run_execute.execute(job.config, folder, command="test", overrides=job.overrides) == 0
        _, records, rows = read_back(folder)
        names.append({name for row in rows for name in (*numbers_of(row), *media_of(row)[0], *media_of(row)[1])})
        lines.append(float(rows[0]["theory/srg"]))
        assert records["run"][0]["run_group"] == "dufm_k10"
        assert set(records["run"][0]["tags"]) >= {x for x in job.overrides if x.startswith(("dataset", "objective"))}
    assert names[0] == names[1] == names[2] == names[3]
    assert [math.isnan(line) for line in lines] == [job.config.dataset.classes == 5 for job in jobs]
