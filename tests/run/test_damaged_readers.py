"""A finished run whose folder is damaged in one way: no command takes it for whole, each says what is wrong.

Every case is a copy of one run. `measure`, `report` and `report --check`, and the training command, which would else
say that the run is already done, are the commands themselves.
"""

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ncbench import train
from ncbench.measure.__main__ import main as measure
from ncbench.records.parts import parts
from ncbench.report.__main__ import main as report
from tests.helpers.damages import (
    BINARY,
    DEEP,
    LAST,
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

TINY = ["+experiment=digits_mlp", "dataset.per_class=12", "dataset.batch_size=40", "trainer.max_epochs=2"]
TINY += ["measure.points=3", "trainer.progress=false", "trainer.checkpoint_seconds=0", "claims=null"]
ALIASES = "a: &a [1, 1]\nb: [*a, *a]\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train.main([*TINY, f"hydra.run.dir={run}"]) == 0
    return run


def info_with(**values):
    def damage(run):
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**info, **values}))

    return damage


def of_part(change):
    """The rows of the last part of the measures, changed, in a folder whose manifest is gone."""

    def damage(run):
        (run / "manifest.json").unlink()
        part = parts(run, "measures")[-1]
        pq.write_table(change(pq.read_table(part)), part)

    return damage


def replicas(number):
    return of_part(lambda rows: rows.set_column(0, "replica", pa.array([number] * len(rows), pa.int32())))


def part_of(table, damage):
    return lambda run: damage(parts(run, table)[0].relative_to(run))(run)


def pickled(run):
    torch.save({"ncbench_step": 1, "state_dict": {"x": torch.ones(1)}}, run / LAST)
    torch.save({"ncbench_step": 1, "state_dict": {"x": torch.ones(1)}}, run / PREVIOUS)
    (run / SUMS).unlink()


def proven_anew(*damages):
    """Without the manifest, so that what the file says decides, and not its checksum."""
    return both(gone("manifest.json"), *damages)


AGAIN, REPORT, CHECK, MEASURE = "train again", "report", "report --check", "measure"
EVERY = (AGAIN, REPORT, CHECK, MEASURE)
DAMAGES = {
    "run.json: truncated": (short("run.json"), EVERY, r"run\.json is not valid JSON"),
    "run.json: empty": (holds("run.json", ""), EVERY, r"run\.json is not valid JSON"),
    "run.json: binary": (holds("run.json", BINARY), EVERY, r"run\.json is not UTF-8 text"),
    "run.json: a list": (holds("run.json", "[]"), EVERY, r"run\.json must hold one JSON object"),
    "run.json: nested": (holds("run.json", DEEP), EVERY, r"run\.json is nested more than 64 levels deep"),
    "run.json: a folder": (folder("run.json"), (AGAIN, MEASURE), r"run\.json is no regular file"),
    "run.json: replicas=1e9": (info_with(replicas=10**9), EVERY, r"run\.json: replicas=1000000000 must be"),
    "run.json: a status of numbers": (info_with(status=[1]), EVERY, r"run\.json: status=\[1\] must be a text"),
    "run.json: states without replica": (
        info_with(replica_states={"dead": [{"step": 3}]}),
        EVERY,
        r"run\.json: replica_states\.dead=",
    ),
    "run.json: without config_hash": (without("config_hash"), (AGAIN,), r"run\.json: has no config_hash"),
    "replicas.json: one bit": (bit("replicas.json"), EVERY, r"replicas\.json: is damaged"),
    "replicas.json: missing": (gone("replicas.json"), EVERY, r"replicas\.json: is missing"),
    "replicas.json: without replica": (
        proven_anew(holds("replicas.json", '[{"seed": 1}]')),
        (REPORT,),
        r"replicas\.json: replica=None must be",
    ),
    "replicas.json: replica 1e12": (
        proven_anew(holds("replicas.json", '[{"replica": 1000000000000}]')),
        (REPORT,),
        r"replicas\.json: replica=1000000000000 must be",
    ),
    "replicas.json: replica -5": (
        proven_anew(holds("replicas.json", '[{"replica": -5}]')),
        (REPORT,),
        r"replicas\.json: replica=-5 must be",
    ),
    "replicas.json: nested": (proven_anew(holds("replicas.json", DEEP)), (REPORT,), r"replicas\.json is nested more"),
    "references.json: one bit": (bit("references.json"), EVERY, r"references\.json: is damaged"),
    "references.json: value of text": (
        proven_anew(holds("references.json", '[{"name": "dnc", "value": "abc"}]')),
        (REPORT,),
        r"references\.json: dnc: value='abc' must be a number or null",
    ),
    "config.yaml: one bit": (bit("config.yaml"), EVERY, r"config\.yaml: is damaged"),
    "config.yaml: missing": (gone("config.yaml"), (AGAIN, REPORT, CHECK), r"config\.yaml: is missing"),
    "config.yaml: missing, no manifest": (
        proven_anew(gone("config.yaml")),
        (AGAIN, CHECK),
        r"config\.yaml: is missing, ",
    ),
    "config.yaml: a list": (
        proven_anew(holds("config.yaml", "[1, 2]")),
        (AGAIN, CHECK, MEASURE),
        r"config\.yaml.* mapping",
    ),
    "config.yaml: binary": (proven_anew(holds("config.yaml", BINARY)), EVERY, r"config\.yaml is not UTF-8 text"),
    "config.yaml: aliases": (proven_anew(holds("config.yaml", ALIASES)), EVERY, r"config\.yaml has the alias \*a"),
    "config.yaml: nested": (proven_anew(holds("config.yaml", DEEP)), EVERY, r"config\.yaml is nested more than"),
    "overrides.yaml: one bit": (bit(".hydra/overrides.yaml"), EVERY, r"overrides\.yaml: is damaged"),
    "manifest.json: truncated": (short("manifest.json"), EVERY, r"manifest\.json: is damaged"),
    "manifest.json: nested": (holds("manifest.json", DEEP), EVERY, r"manifest\.json: is damaged"),
    "measures: one bit": (part_of("measures", bit), EVERY, r"measures/part-\S+: is damaged"),
    "spectra: one bit": (part_of("spectra", bit), EVERY, r"spectra/part-\S+: is damaged"),
    "grams: truncated": (part_of("grams", short), EVERY, r"grams/part-\S+: is damaged"),
    "means: one bit": (part_of("means", bit), EVERY, r"means/part-\S+: is damaged"),
    "measures: missing": (gone("measures"), EVERY, r"measures/part-\S+: is missing"),
    "measures: missing, no manifest": (proven_anew(gone("measures")), (AGAIN,), r"measures: holds no records"),
    "measures: no value column": (
        of_part(lambda rows: rows.drop_columns(["value"])),
        (REPORT,),
        r"measures/part-\S+: has no column value; put a whole copy",
    ),
    "measures: replica 2^30": (replicas(2**30), (REPORT,), r"measures: has rows of replica 1073741824"),
    "measures: negative replicas": (replicas(-1), (REPORT,), r"measures: has rows of replica -1"),
    "checkpoints: missing": (gone("checkpoints"), (AGAIN, MEASURE), r"(last\.ckpt: is missing|no usable checkpoint)"),
    "last.ckpt: one bit": (
        bit(LAST),
        (AGAIN,),
        r"last\.ckpt: is damaged \(its checksum is another\);",
    ),
    "last.ckpt and previous.ckpt: truncated": (
        both(short(LAST), short(PREVIOUS)),
        (MEASURE,),
        r"last\.ckpt: is damaged .*previous\.ckpt: is damaged",
    ),
    "checkpoints of another network": (pickled, (MEASURE,), r"last\.ckpt: is no checkpoint of this run's network"),
}
CASES = [
    pytest.param(damage, command, line, id=f"{command}, {name}")
    for name, (damage, commands, line) in DAMAGES.items()
    for command in commands
]


@pytest.mark.parametrize(("damage", "command", "line"), CASES)
def test_it_is_said_in_one_line(damage, command, line, whole, tmp_path, capsys):
    run = shutil.copytree(whole, tmp_path / "run")
    damage(run)
    written = sorted(path.name for path in run.iterdir())
    capsys.readouterr()
    status = {
        AGAIN: lambda: train.main([*TINY, f"hydra.run.dir={run}"]),
        REPORT: lambda: report([str(run)]),
        CHECK: lambda: report([str(run), "--check"]),
        MEASURE: lambda: measure([str(run)]),
    }[command]()
    said = capsys.readouterr().err.strip()
    assert status == 2, said
    assert re.search(line, said), said
    assert "\n" not in said
    assert len(said) < 700
    assert not re.search(r"Error\b|Errno|Traceback", said), said
    assert sorted(path.name for path in run.iterdir()) in (written, sorted([*written, ".holder", ".lock"]))


@pytest.mark.parametrize(
    "damage",
    [gone(SUMS), holds(SUMS, ""), holds(SUMS, "{"), holds(SUMS, "[]"), holds(SUMS, DEEP), short(LAST)],
    ids=["missing", "empty", "truncated", "a list", "nested", "last.ckpt truncated"],
)
def test_measure_says_what_it_measures_where_checksums_are_lost(damage, whole, tmp_path, capsys, caplog):
    run = shutil.copytree(whole, tmp_path / "run")
    damage(run)
    assert measure([str(run)]) == 0
    assert re.search(r"(checksums\.json: is missing or damaged; last\.ckpt is whole|from previous\.ckpt)", caplog.text)
    assert "head.4" in capsys.readouterr().out
