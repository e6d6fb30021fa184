"""Writes synthetic run folders in the recorded schema, with numbers that can be worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

K = 4
L = 3
LAYERS = [
    ("features", "post"),
    *[(f"head.{i}", s) for i in (1, 2) for s in ("pre", "post")],
    ("head.3", "pre"),
]
STEPS = (0, 1, 10, 100, 1000)
TEXT = pa.dictionary(pa.int32(), pa.string())
MEASURES = pa.schema(
    {
        "replica": pa.int32(),
        "seed": pa.int64(),
        "step": pa.int64(),
        "epoch": pa.float64(),
        "split": TEXT,
        "layer": TEXT,
        "stage": TEXT,
        "source_layer": TEXT,
        "measure": TEXT,
        "value": pa.float64(),
    }
)
_PLACE = {"replica": pa.int32(), "step": pa.int64(), "layer": TEXT, "stage": TEXT}
SPECTRA = pa.schema(_PLACE | {"index": pa.int16(), "singular_value": pa.float64()})
GRAMS = pa.schema(_PLACE | {"size": pa.int16(), "gram": pa.list_(pa.float32())})


def loss_of(replica: int, step: int) -> float:
    """0.5 at step 0, falling to 0.1 + replica / 100 at step 1000."""
    return 0.1 + replica / 100 + 0.4 / (1 + step) - 0.4 / 1001 * (step == 1000)


def measure_rows(seeds: list[int], step: int, scale: float) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for replica, seed in enumerate(seeds):
        head = (replica, seed, step, step / 10)
        loss = loss_of(replica, step) * scale
        for measure, value in (("loss", loss), ("fit", loss / 4), ("regulariser", 3 * loss / 4)):
            rows.append((*head, "train", "", "", "", measure, value))
        for split, accuracy in (("train", 1.0), ("test", 0.9)):
            rows.append((*head, split, "", "", "", "accuracy", accuracy))
        for place, (layer, stage) in enumerate(LAYERS):
            source = "backbone" if layer == "features" else layer
            shrink = 10.0 ** -(place + replica / 8) / (1 + step)
            dnc1 = 0.0 if layer == "head.3" and step == 1000 else shrink
            values = dict(tcv=shrink / 2, tcv_relative=shrink / 3, dnc1=dnc1, dnc2=1 + shrink, rank=4 - place // 2)
            values |= dict(stable_rank=2.5, effective_rank=3.5)
            rows += [(*head, "train", layer, stage, source, name, value) for name, value in values.items()]
        for l in range(1, L + 1):
            values = dict(rank=3.0, stable_rank=2.0, effective_rank=2.5, tail=0.25, norm=1.5)
            rows += [(*head, "", f"head.{l}", "weight", f"head.{l}", n, v) for n, v in values.items()]
    return rows


def spectrum_rows(seeds: list[int], step: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    places = LAYERS + [(f"head.{l}", "weight") for l in range(1, L + 1)]
    for replica in range(len(seeds)):
        for layer, stage in places:
            values = [2.0, 1.0 + replica / 100, 1.0, 1e-5]
            rows += [(replica, step, layer, stage, index, value) for index, value in enumerate(values)]
    return rows


def gram_rows(seeds: list[int], step: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for replica in range(len(seeds)):
        for layer, stage in LAYERS:
            off = -0.25 if stage == "pre" else 0.5
            gram = (4.0 + replica) * ((1 - off) * np.eye(K) + off)
            rows.append((replica, step, layer, stage, K, gram.ravel().tolist()))
    return rows


def claims() -> dict[str, dict[str, Any]]:
    """A claim that the records of eight replicas bear out (replica i ends at 0.1 + i/100), and one that they do not."""
    paper: dict[str, Any] = {"check": "share_below", "source": "paper"}
    below = {"below": 0.2, "at_least": 0.5, "expect": "reproduced", "statement": "the loss falls"}
    line = {"reference": "srg", "at_least": 0.9, "expect": "not reproduced", "statement": "all SRG"}
    return {"loss_falls": paper | below, "all_below_srg": paper | line}


def write_part(path: Path, schema: pa.Schema, rows: list[tuple[Any, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(zip(*rows))
    arrays = []
    for field, column in zip(schema, columns):
        plain = pa.array(column, pa.string() if field.type == TEXT else field.type)
        arrays.append(plain.dictionary_encode() if field.type == TEXT else plain)
    pq.write_table(pa.table(arrays, schema=schema), path)


def write_run(
    run: Path,
    seeds: list[int],
    name: str = "dufm_k4",
    swept: dict[str, Any] | None = None,
    scale: float = 1.0,
    finished: bool = True,
    claims: dict[str, dict[str, Any]] | None = None,
) -> Path:
    """A run of `len(seeds)` replicas; an unfinished one has its first two recordings and no Gram matrices.

    With `claims` it has a configuration that names them, and Figure 2 top of the first paper.
    """
    steps = STEPS if finished else STEPS[:2]
    for chunk in (steps[:2], steps[2:]):
        if chunk:
            rows = [row for step in chunk for row in measure_rows(seeds, step, scale)]
            write_part(run / "measures" / f"part-{chunk[-1]:012d}.parquet", MEASURES, rows)
            rows = [row for step in chunk for row in spectrum_rows(seeds, step)]
            write_part(run / "spectra" / f"part-{chunk[-1]:012d}.parquet", SPECTRA, rows)
    if finished:
        for step in (steps[0], steps[2], steps[-1]) if claims else steps[-1:]:
            write_part(run / "grams" / f"part-{step:012d}.parquet", GRAMS, gram_rows(seeds, step))
    if claims:
        figure = {"paper": "sukenik24", "figure": "2 top", "forms": ["quick"]}
        config = {"name": name, "model": {"depth": L}, "claims": claims, "reproduces": figure}
        (run / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    replicas = [{"replica": i, "seed": seed, **(swept or {})} for i, seed in enumerate(seeds)]
    references = [
        {"name": "dnc", "value": 0.12 * scale, "formula": "DNC <formula>", "arguments": {"K": K, "L": L}},
        {"name": "srg", "value": 0.09 * scale, "formula": "SRG formula", "arguments": {"K": K, "L": L}},
        {
            "name": "ntz",
            "value": None,
            "formula": "f",
            "arguments": {},
            "why": "K = 4 is no triangular number",
        },
    ]
    info = {
        "schema_version": 1,
        "status": "done" if finished else "running",
        "name": name,
        "config_hash": "0123abcd",
        "seed": seeds[0],
        "replicas": len(seeds),
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00" if finished else None,
        "wall_seconds": 60.0 if finished else None,
        "steps": steps[-1],
        "replica_steps_per_second": 1234.5,
        "versions": {"python": "3.11", "torch": "2.15.0"},
        "git": {"commit": "abc123", "dirty": False},
        "device": "cpu",
        "error": None,
        "command": "python -m ncbench.train +experiment=dufm_k4",
        "final": {},
    }
    (run / "replicas.json").write_text(json.dumps(replicas))
    (run / "references.json").write_text(json.dumps([{"replicas": None, "why": None, **r} for r in references]))
    (run / "run.json").write_text(json.dumps(info))
    return run


def write_values(
    run: Path,
    values: dict[str, list[float] | dict[int, list[float]]],
    claims: dict[str, dict[str, Any]],
    *,
    spectra: dict[str, list[list[float]]] | None = None,
    lines: dict[str, float | list[float] | None] | None = None,
    swept: list[dict[str, Any]] | None = None,
    overrides: tuple[str, ...] = (),
    depth: int = 3,
    **info: Any,
) -> Path:
    """A finished run that recorded just these values, and claims these claims.

    `values` and `spectra` have keys as in the contract (`loss`, `head.1.pre.rank`; `head.1.pre`) and one value per
    replica, or such a list for every step; behind an @ a key names the source layer. `lines` has a theory line for all
    replicas or one for each.
    """
    rows, count = [], 0
    for key, of_steps in values.items():
        key, _, source = key.partition("@")
        place, _, measure = key.rpartition(".")
        layer, _, stage = place.rpartition(".")
        for step, of_replicas in (of_steps if isinstance(of_steps, dict) else {1000: of_steps}).items():
            count = len(of_replicas)
            for replica, value in enumerate(of_replicas):
                rows.append((replica, replica, step, step / 10, "train", layer, stage, source, measure, float(value)))
    write_part(run / "measures" / "part-000000001000.parquet", MEASURES, rows)
    rows = []
    for place, of_replicas in (spectra or {}).items():
        layer, _, stage = place.rpartition(".")
        count = len(of_replicas)
        for replica, found in enumerate(of_replicas):
            rows += [(replica, 1000, layer, stage, index, value) for index, value in enumerate(found)]
    if rows:
        write_part(run / "spectra" / "part-000000001000.parquet", SPECTRA, rows)
    references = []
    for name, line in (lines or {}).items():
        for replica, value in enumerate(line) if isinstance(line, list) else [(None, line)]:
            who = None if replica is None else [replica]
            why = "none" if value is None else None
            references.append(
                {"name": name, "value": value, "formula": "", "arguments": {}, "replicas": who, "why": why}
            )
    replicas = [{"replica": i, "seed": i, **(swept[i] if swept else {})} for i in range(count)]
    known = {"status": "done", "name": "fig1", "config_hash": "0123abcd", "replicas": count, "started": "2026-01-01"}
    (run / "replicas.json").write_text(json.dumps(replicas))
    (run / "references.json").write_text(json.dumps(references))
    (run / "run.json").write_text(json.dumps(known | info))
    config = {"name": "fig1", "model": {"depth": depth}, "claims": claims, "reproduces": {"paper": "p", "figure": "1"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / ".hydra").mkdir(exist_ok=True)
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    return run


def write_records(base: Path) -> Path:
    """Eight replicas, one replica, an unfinished run, and a sweep of four runs over decay and depth."""
    write_run(base / "eight", list(range(8)))
    write_run(base / "one", [3])
    write_run(base / "unfinished", [0, 1], finished=False)
    points = [(1e-3, 3), (1e-3, 4), (5e-2, 3), (5e-2, 4)]
    for job, (weight_decay, depth) in enumerate(points):
        swept = {"weight_decay": weight_decay, "depth": depth}
        write_run(base / "sweep" / str(job), [0, 1, 2], swept=swept, scale=1 + job)
    return base
