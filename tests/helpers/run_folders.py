"""Run folders of runs that were never trained, written by what writes real ones: numbers to be worked out by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from ncbench.measure import Measurement
from ncbench.records.folder import RunFolder
from ncbench.records.layers import FEATURES, head_layer, layers_between, measured_by_default
from ncbench.records.schema import CONFIG, OVERRIDES, REFERENCES, REPLICAS, RUN_INFO
from ncbench.records.whole_files import write_json
from ncbench.records.writer import RecordWriter
from tests.helpers.own_paper import reproduces

K = 4
L = 3
LAYERS = [
    (FEATURES, "post"),
    *[(layer, stage) for layer in layers_between("intermediate", L) for stage in ("pre", "post")],
    (head_layer(L), "pre"),
]
WEIGHTS = [(layer, "weight") for layer in measured_by_default(L)[1:]]
STEPS = (0, 1, 10, 100, 1000)
LAST = STEPS[-1]


def loss_of(replica: int, step: int) -> float:
    """0.5 at step 0, falling to 0.1 + replica / 100 at step 1000."""
    return 0.1 + replica / 100 + 0.4 / (1 + step) - 0.4 / 1001 * (step == 1000)


def measurement(replicas: int, step: int, scale: float = 1.0, grams: bool = False) -> Measurement:
    """What `replicas` replicas measured at a step."""
    i = torch.arange(replicas, dtype=torch.float64)
    loss = torch.tensor([loss_of(replica, step) * scale for replica in range(replicas)], dtype=torch.float64)
    whole = {"loss": loss, "fit": loss / 4, "regulariser": 3 * loss / 4, "accuracy": torch.ones_like(i)}
    values = {("train", "", "", name): value for name, value in whole.items()}
    values["test", "", "", "accuracy"] = torch.full_like(i, 0.9)
    for place, (layer, stage) in enumerate(LAYERS):
        shrink = torch.tensor([10.0 ** -(place + k / 8) / (1 + step) for k in range(replicas)], dtype=torch.float64)
        collapsed = layer == head_layer(L) and step == LAST
        of_layer: dict[str, torch.Tensor | float] = {"tcv": shrink / 2, "tcv_relative": shrink / 3, "dnc2": 1 + shrink}
        of_layer |= {"dnc1": 0.0 if collapsed else shrink, "rank": 4.0 - place // 2}
        of_layer |= {"stable_rank": 2.5, "effective_rank": 3.5}
        values |= {("train", layer, stage, name): value + 0 * i for name, value in of_layer.items()}
    for layer, stage in WEIGHTS:
        of_weight = {"rank": 3.0, "stable_rank": 2.0, "effective_rank": 2.5, "tail": 0.25, "norm": 1.5}
        values |= {("", layer, stage, name): value + 0 * i for name, value in of_weight.items()}
    spectrum = torch.tensor([[2.0, 1.0 + k / 100, 1.0, 1e-5] for k in range(replicas)], dtype=torch.float64)
    found = Measurement(values, spectra=dict.fromkeys([*LAYERS, *WEIGHTS], spectrum))
    for layer, stage in LAYERS if grams else []:
        found.grams[layer, stage] = (4.0 + i)[:, None, None] * gram(-0.25 if stage == "pre" else 0.5)
    return found


def gram(off_diagonal: float) -> torch.Tensor:
    """The K x K matrix with ones on its diagonal."""
    return (1 - off_diagonal) * torch.eye(K, dtype=torch.float64) + off_diagonal


def record(run: Path, seeds: Sequence[int], measurements: Mapping[int, Measurement]) -> None:
    """What a run measured, by step; what an earlier call recorded in the same folder is gone."""
    writer = RecordWriter(run, seeds)
    writer.keep_until(None)
    for step in sorted(measurements):
        writer.write(step, step / 10, measurements[step])


def write_inputs(
    run: Path,
    replicas: list[dict[str, Any]],
    references: list[dict[str, Any]],
    info: dict[str, Any],
    config: dict[str, Any] | None = None,
) -> None:
    """The small files of a run folder; `info` is all that its run.json says."""
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / REPLICAS, replicas)
    write_json(run / REFERENCES, references)
    (run / RUN_INFO).unlink(missing_ok=True)  # `update` would keep what an earlier call wrote
    RunFolder(run).update(**info)
    if config is not None:
        plain = json.loads(json.dumps(config))  # so that equal parts are no aliases
        (run / CONFIG).write_text(yaml.safe_dump(plain, sort_keys=False))


def write_run(
    run: Path,
    seeds: list[int],
    name: str = "dufm_k4",
    swept: dict[str, Any] | None = None,
    scale: float = 1.0,
    finished: bool = True,
    claims: dict[str, dict[str, Any]] | None = None,
    **of_paper: Any,
) -> Path:
    """A run of `len(seeds)` replicas; an unfinished one has its first two recordings and no Gram matrices.

    With `claims` it has a configuration that names them and a figure of the paper in `own_paper` (`of_paper`: which,
    and more that `reproduces` may say).
    """
    steps = STEPS if finished else STEPS[:2]
    with_grams = (STEPS[0], STEPS[2], LAST) if claims else (LAST,)
    record(
        run,
        seeds,
        {step: measurement(len(seeds), step, scale, grams=finished and step in with_grams) for step in steps},
    )
    theory = {"replicas": None, "why": None, "arguments": {"K": K, "L": L}}
    references = [
        {**theory, "name": "dnc", "value": 0.12 * scale, "formula": "DNC <formula>"},
        {**theory, "name": "srg", "value": 0.09 * scale, "formula": "SRG formula"},
        {
            **theory,
            "name": "ntz",
            "value": None,
            "formula": "f",
            "arguments": {},
            "why": "K = 4 is no triangular number",
        },
    ]
    info = {
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
    config = {"name": name, "model": {"depth": L}, "claims": claims, "reproduces": reproduces(**of_paper)}
    replicas = [{"replica": i, "seed": seed, **(swept or {})} for i, seed in enumerate(seeds)]
    write_inputs(run, replicas, references, info, config if claims else None)
    return run


def write_values(
    run: Path,
    values: dict[str, list[float] | dict[int, list[float]]],
    claims: dict[str, dict[str, Any]],
    *,
    spectra: Mapping[str, Any] | None = None,
    sample_grams: Mapping[str, Any] | None = None,
    lines: dict[str, float | list[float] | None] | list[dict[str, Any]] | None = None,
    swept: list[dict[str, Any]] | None = None,
    overrides: tuple[str, ...] = (),
    depth: int = 3,
    classes: int | None = None,
    reproduces: Any = None,
    **info: Any,
) -> Path:
    """A finished run that recorded just these values, and claims these claims.

    `values`, `spectra` and `sample_grams` have keys as in the contract (`loss`, `head.1.pre.rank`; `head.1.pre`) and
    one entry per replica, or such a list for every step; behind an @ a key of a value names the source layer, in front
    of everything `test.` the split. `lines` has a theory line for all replicas or one for each, or is what
    references.json holds.
    """
    measurements: dict[int, Measurement] = {}
    count = 0
    for key, step, of_replicas in _entries(values):
        key, _, source = key.partition("@")
        of_test, key = key.startswith("test."), key.removeprefix("test.")
        place, _, measure = key.rpartition(".")
        layer, _, stage = place.rpartition(".")
        found = measurements.setdefault(step, Measurement())
        tensor = torch.tensor(of_replicas, dtype=torch.float64)
        # What no replica's data has a part in belongs to no split, as in real records.
        split = "test" if of_test else "" if stage == "weight" else "train"
        if source:
            found.of_sources[split, layer, stage, measure, source] = tensor
        else:
            found.values[split, layer, stage, measure] = tensor
        count = len(of_replicas)
    for place, step, of_replicas in _entries(spectra or {}):
        layer, _, stage = place.rpartition(".")
        found = measurements.setdefault(step, Measurement())
        found.spectra[layer, stage] = torch.tensor(of_replicas, dtype=torch.float64)
        count = len(of_replicas)
    for place, step, of_replicas in _entries(sample_grams or {}):
        layer, _, stage = place.rpartition(".")
        flat = torch.tensor(of_replicas, dtype=torch.float64)
        size = int(flat.shape[-1] ** 0.5)
        found = measurements.setdefault(step, Measurement())
        found.sample_grams[layer, stage] = flat.reshape(len(flat), size, size)
    replicas = [{"replica": i, "seed": i, **(swept[i] if swept else {})} for i in range(count)]
    record(run, [row["seed"] for row in replicas], measurements)
    config = {"name": "fig1", "model": {"depth": depth}, "claims": claims}
    config["reproduces"] = reproduces or {"paper": "p", "figure": "1"}
    config |= {} if classes is None else {"dataset": {"classes": classes}}
    known = {"status": "done", "name": "fig1", "config_hash": "0123abcd", "replicas": count, "started": "2026-01-01"}
    write_inputs(run, replicas, lines if isinstance(lines, list) else _references(lines or {}), known | info, config)
    (run / OVERRIDES).parent.mkdir(exist_ok=True)
    (run / OVERRIDES).write_text(yaml.safe_dump(list(overrides), sort_keys=False))
    return run


def _entries(given: Mapping[str, Any]) -> list[tuple[str, int, Any]]:
    """Key, step and one entry per replica."""
    steps = {key: entry if isinstance(entry, dict) else {LAST: entry} for key, entry in given.items()}
    return [(key, step, of_replicas) for key, of_steps in steps.items() for step, of_replicas in of_steps.items()]


def _references(lines: Mapping[str, float | list[float] | None]) -> list[dict[str, Any]]:
    references: list[dict[str, Any]] = []
    for name, line in lines.items():
        for replica, value in enumerate(line) if isinstance(line, list) else [(None, line)]:
            who, why = None if replica is None else [replica], "none" if value is None else None
            known = {"name": name, "value": value, "formula": "", "arguments": {}}
            references.append({**known, "replicas": who, "why": why})
    return references


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
