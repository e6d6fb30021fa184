"""Run folders as a sweep over seeds leaves them: one network each, with the whole configuration beside it."""

import json
from pathlib import Path
from typing import Any

import yaml

from ncbench.records.compaction import flush
from ncbench.records.schema import CONFIG, REPLICAS
from tests.helpers.run_folders import write_values

LOSSES = (1.0, 2.0, 4.0)  # of the seeds 0, 1, 2 at width 32 and decay 0.001; ten times that per further point
RANKS = (4.0, 5.0, 9.0)


def configuration(seed: int, **values: Any) -> dict[str, Any]:
    """A configuration in which nothing but the seed and these values (by dotted key) differ from another one."""
    config: dict[str, Any] = {
        "name": "fig1",
        "seed": seed,
        "dataset": {"_target_": "ncbench.data.Digits", "classes": 10, "root": None},
        "model": {"width": 32, "depth": 3},
        "optimizer": {"lr": 0.1},
        "objective": {"weight_decay": 1e-3},
        "claims": {},
        "reproduces": {"paper": "p", "figure": "1"},
        "logger": {"kind": "local"},
        "trainer": {"progress": True, "max_epochs": 3},
    }
    for key, value in values.items():
        *above, last = key.split(".")
        section = config
        for name in above:
            section = section.setdefault(name, {})
        section[last] = value
    return config


def write_seed(
    run: Path, seed: int, loss: float, swept: dict[str, Any] | None = None, rank: float = 4.0, **config: Any
) -> Path:
    """A finished run of one network; `swept` is what its command line gave by dotted key, `config` more of its file."""
    values = {"loss": [loss], **{f"head.{l}.pre.rank": [rank] for l in (1, 2)}, "head.3.pre.rank": [10.0]}
    write_values(run, values, {}, seed=seed, replicas=1, status=config.pop("status", "done"))
    rows = [{"replica": 0, "seed": seed, **{key.rsplit(".", 1)[-1]: value for key, value in (swept or {}).items()}}]
    (run / REPLICAS).write_text(json.dumps(rows))
    (run / CONFIG).write_text(yaml.safe_dump(configuration(seed, **(swept or {}), **config), sort_keys=False))
    flush(run)
    return run


def write_sweep(base: Path, widths: tuple[int, ...] = (32, 64), decays: tuple[float, ...] = (1e-3, 1e-2)) -> Path:
    """Widths x decays x three seeds in folders with names like hashes, in an order that says nothing."""
    points = [(width, decay) for width in widths for decay in decays]
    jobs = [(point, seed) for point in range(len(points)) for seed in range(3)]
    for point, seed in jobs:
        width, decay = points[point]
        name = f"{(7919 * (3 * point + seed) + 13) % 9973:04x}"
        swept = {"model.width": width, "objective.weight_decay": decay}
        # Where the data lay and what was logged is no difference.
        other = {"dataset.root": f"/data/{name}", "logger.kind": "csv" if seed else "local"}
        write_seed(base / name, seed, 10.0**point * LOSSES[seed], swept, RANKS[seed], **other)
    return base
