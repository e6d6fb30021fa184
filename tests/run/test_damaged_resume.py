"""An interrupted run, whose folder is then damaged in one way, goes on exactly or ends in one line that says why.

Every case is a copy of one interrupted run; whoever goes on is the command itself. The records of whoever gets to the
end are those of a run that was left alone, bit for bit.
"""

import re
import shutil

import pytest
import torch

from ncbench.records.folder import RunFolder
from ncbench.records.parts import parts
from ncbench.records.schema import TABLES
from ncbench.records.storage import read_part
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from tests.helpers.damages import (
    BINARY,
    DEEP,
    LAST,
    OVERWRITTEN,
    PREVIOUS,
    SUMS,
    bit,
    both,
    folder,
    gone,
    holds,
    short,
    without,
)

TINY = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=24", "measure.points=5", "references=[]"]
TINY += ["claims=null", "trainer.progress=false", "trainer.checkpoint_seconds=0", "trainer.threads=1"]


@pytest.fixture(scope="module")
def config():
    (composed,) = compose_jobs(TINY, multirun=False)
    return composed.config


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    assert run_execute.execute(config, run, command="test", overrides=TINY) == 0
    return run


@pytest.fixture(scope="module")
def stopped(config, tmp_path_factory):
    """Interrupted after its fourth measurement: two checkpoints, rows that no checkpoint has, a manifest."""
    run, real, calls = tmp_path_factory.mktemp("stopped") / "run", session.RunSession._record, []

    def stops(self, step, *measured):
        real(self, step, *measured)
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert run_execute.execute(config, run, command="test", overrides=TINY) == 1
    assert (run / "manifest.json").is_file()
    assert (run / PREVIOUS).is_file()
    return run


def listed(damage, table="measures"):
    """The damage to the first part of the table, which the manifest lists."""
    return lambda run: damage(parts(run, table)[0].relative_to(run))(run)


def newest(damage):
    """The damage to the part of the last measurement, which no checkpoint has."""
    return lambda run: damage(parts(run, "measures")[-1].relative_to(run))(run)


def copied(run):
    part = parts(run, "measures")[0]
    shutil.copy(part, part.with_name(f"{part.stem} (1).parquet"))


def another_network(run):
    for name in ("last.ckpt", "previous.ckpt"):
        torch.save({"ncbench_step": 3, "state_dict": {"x": torch.ones(1)}}, run / "checkpoints" / name)
    (run / "checkpoints" / "checksums.json").unlink()


EXACT = {
    "last.ckpt: one bit": bit(LAST),
    "last.ckpt: its first byte": bit(LAST, 0),
    "last.ckpt: truncated": short(LAST),
    "last.ckpt: empty": holds(LAST, ""),
    "last.ckpt: missing": gone(LAST),
    "last.ckpt: text": holds(LAST, "no checkpoint"),
    "previous.ckpt: truncated": short(PREVIOUS),
    "previous.ckpt: missing": gone(PREVIOUS),
    "last.ckpt and previous.ckpt: missing": both(gone(LAST), gone(PREVIOUS)),
    "checkpoints: missing": gone("checkpoints"),
    "checkpoints: a half-written file beside": holds("checkpoints/.last.ckpt.1-2.tmp", "half"),
    "checksums.json: missing": gone(SUMS),
    "checksums.json: truncated": short(SUMS),
    "checksums.json: empty": holds(SUMS, ""),
    "checksums.json: no JSON": holds(SUMS, "no JSON"),
    "checksums.json: a list": holds(SUMS, "[]"),
    "checksums.json: binary": holds(SUMS, BINARY),
    "checksums.json: nested": holds(SUMS, DEEP),
    "newest part: one bit": newest(bit),
    "newest part: missing": newest(gone),
    "manifest.json: missing": gone("manifest.json"),
    "config.yaml: one bit": bit("config.yaml"),
    "config.yaml: missing": gone("config.yaml"),
    "config.yaml: empty": holds("config.yaml", ""),
    "config.yaml: binary": holds("config.yaml", BINARY),
    "replicas.json: one bit": bit("replicas.json"),
    "replicas.json: missing": gone("replicas.json"),
    "references.json: truncated": holds("references.json", "["),
    "references.json: missing": gone("references.json"),
    "overrides.yaml: one bit": bit(".hydra/overrides.yaml"),
    ".hydra: missing": gone(".hydra"),
    ".lock: text": holds(".lock", "process 1 on another host\n"),
    ".lock: missing": gone(".lock"),
    ".holder: binary": holds(".holder", BINARY),
    "ncbench.log: missing": gone("ncbench.log"),
}
REFUSED = {
    "last.ckpt and previous.ckpt: truncated": (both(short(LAST), short(PREVIOUS)), 1, r"last\.ckpt: is damaged .*"),
    "checkpoints of another network": (another_network, 1, r"last\.ckpt: is no checkpoint of this run's network"),
    "listed part: one bit": (listed(bit), 1, r"part-\d+\S*\.parquet: is damaged"),
    "listed part of spectra: one bit": (listed(bit, "spectra"), 1, r"spectra/part-\S+: is damaged"),
    "listed part of grams: one bit": (listed(bit, "grams"), 1, r"grams/part-\S+: is damaged"),
    "listed part: truncated": (listed(short), 1, r"part-\S+: is damaged \(\d+ bytes, not \d+\)"),
    "listed part: empty": (listed(lambda name: holds(name, "")), 1, r"part-\S+: is damaged \(0 bytes"),
    "listed part: 200 bytes": (listed(lambda name: holds(name, OVERWRITTEN)), 1, r"part-\S+: is damaged"),
    "listed part: missing": (listed(gone), 1, r"part-\S+: is missing"),
    "listed part: a folder": (listed(folder), 1, r"part-\S+: "),
    "measures: missing": (gone("measures"), 1, r"measures/part-\S+: is missing"),
    "measures: a file": (both(gone("measures"), holds("measures", "")), 1, r"measures"),
    "a copy of a part beside it": (copied, 1, r"\(1\)\.parquet: is no part of a record"),
    "manifest.json: one bit": (bit("manifest.json"), 1, r"manifest\.json: is damaged"),
    "manifest.json: truncated": (short("manifest.json"), 1, r"manifest\.json: is damaged"),
    "manifest.json: empty": (holds("manifest.json", ""), 1, r"manifest\.json: is damaged"),
    "manifest.json: a folder": (folder("manifest.json"), 1, r"manifest\.json"),
    "last.ckpt: a folder": (folder(LAST), 1, r"last\.ckpt"),
    "checkpoints: a file": (both(gone("checkpoints"), holds("checkpoints", "")), 1, r"checkpoints"),
    "config.yaml: a folder": (folder("config.yaml"), 1, r"config\.yaml"),
    "run.json: missing": (gone("run.json"), 2, r"run\.json: is missing, so nothing says of which configuration \S+ is"),
    "run.json: truncated": (short("run.json"), 2, r"run\.json is not valid JSON"),
    "run.json: empty": (holds("run.json", ""), 2, r"run\.json is not valid JSON"),
    "run.json: binary": (holds("run.json", BINARY), 2, r"run\.json is not UTF-8 text"),
    "run.json: a list": (holds("run.json", "[]"), 2, r"run\.json must hold one JSON object"),
    "run.json: a folder": (folder("run.json"), 2, r"run\.json"),
    "run.json: nested": (holds("run.json", DEEP), 2, r"run\.json is nested more than"),
    "run.json: without config_hash": (without("config_hash"), 2, r"run\.json: has no config_hash"),
    "run.json: without status": (without("status"), 2, r"run\.json: has no status"),
    ".lock: a folder": (both(folder(".lock"), holds(".lock/x", "")), 2, r"\.lock"),
    "ncbench.log: a folder": (folder("ncbench.log"), 1, r"ncbench\.log"),
    ".hydra: a file": (both(gone(".hydra"), holds(".hydra", "")), 1, r"\.hydra"),
}


def contents(run):
    """All rows as they were written, and the end of the training."""
    tables = {table: [read_part(part, table) for part in parts(run, table)] for table in TABLES}
    saved = torch.load(run / LAST, weights_only=True)
    return {
        "rows": {table: [repr(row) for part in read for row in part.to_pylist()] for table, read in tables.items()},
        "weights": {name: value.numpy().tobytes() for name, value in saved["state_dict"].items()},
        "step": saved["ncbench_step"],
        "files": [(run / name).read_bytes() for name in ("config.yaml", "replicas.json", "references.json")],
        "digests": RunFolder(run).info()["digests"],
    }


def go_on(run, config, capsys):
    capsys.readouterr()
    status = run_execute.execute(config, run, command="test", overrides=TINY)
    return status, capsys.readouterr().err.strip()


@pytest.mark.parametrize("damage", EXACT.values(), ids=EXACT)
def test_it_goes_on_exactly(damage, stopped, whole, config, tmp_path, capsys):
    run = shutil.copytree(stopped, tmp_path / "run")
    damage(run)
    assert go_on(run, config, capsys)[0] == 0
    assert contents(run) == contents(whole)
    assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize(("damage", "status", "line"), REFUSED.values(), ids=REFUSED)
def test_it_ends_in_one_line(damage, status, line, stopped, config, tmp_path, capsys):
    run = shutil.copytree(stopped, tmp_path / "run")
    damage(run)
    for _ in range(2):  # and says it again, as nothing was lost by the first try
        ended, said = go_on(run, config, capsys)
        assert ended == status, said
        assert re.search(line, said), said
        assert "\n" not in said
        assert len(said) < 1000
        assert not re.search(r"Error\b|Errno|Traceback", said), said
