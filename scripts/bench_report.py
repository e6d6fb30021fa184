"""What a report of ten million rows costs: `python -m ncbench.report` on a synthetic run, against 60 s and 4 GiB.

The run has the columns, part files and compression of a recorded one: R replicas of a 4-layer head with 10 classes,
one part per measured step. Exit status 1 when a limit is missed.

python scripts/bench_report.py                                   # 1000 replicas x 200 steps x 52 series
python scripts/bench_report.py --runs 100                        # as many rows in a sweep of 100 runs
python scripts/bench_report.py --replicas 100 --steps 20         # smaller
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ncbench.measure import Measurement
from ncbench.records.folder import RunFolder
from ncbench.records.layers import FEATURES, head_layer, layers_between, measured_by_default
from ncbench.records.schema import REFERENCES, REPLICAS
from ncbench.records.whole_files import write_json
from ncbench.records.writer import RecordWriter

K, L = 10, 4
SECONDS, GIB = 60.0, 4.0
HIDDEN = [(layer, stage) for layer in layers_between("intermediate", L) for stage in ("pre", "post")]
MEANS = [(FEATURES, "post"), *HIDDEN, (head_layer(L), "pre")]
WEIGHTS = [(layer, "weight") for layer in measured_by_default(L)[1:]]
MEASURES = ("tcv", "tcv_relative", "dnc1", "rank", "effective_rank")
WEIGHT_MEASURES = ("rank", "effective_rank")


def main() -> int:
    """Write the run, report it, print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=1000, help="default 1000")
    parser.add_argument("--steps", type=int, default=200, help="measured steps (default 200)")
    parser.add_argument("--runs", type=int, default=1, help="runs that share the replicas, a sweep (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write here and keep it; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = options.keep or Path(temporary)
        start = time.perf_counter()
        rows = spectra = 0
        for job in range(options.runs):
            swept = {"weight_decay": 1e-4 * 2 ** (job % 10), "width": 10 + job // 10} if options.runs > 1 else {}
            run = base / str(job) if options.runs > 1 else base
            counts = write_run(run, options.replicas // options.runs, options.steps, swept)
            rows, spectra = rows + counts[0], spectra + counts[1]
        print(f"{rows:,} rows of measures, {spectra:,} of spectra: written in {time.perf_counter() - start:.1f} s")
        status, seconds, processor, gib = cost_of([sys.executable, "-m", "ncbench.report", str(base)])
    print(
        f"report: {seconds:.1f} s (limit {SECONDS:g}; {processor:.1f} s of processor time), "
        f"peak memory {gib:.2f} GiB (limit {GIB:g})"
    )
    return int(status != 0 or seconds >= SECONDS or gib >= GIB)


def write_run(run: Path, replicas: int, steps: int, swept: dict[str, float] | None = None) -> tuple[int, int]:
    """A finished run with `steps` measured steps; returns its numbers of rows of measures and of spectra."""
    seeds = list(range(replicas))
    records, draw = RecordWriter(run, seeds), np.random.default_rng(0)
    speed = draw.uniform(0.5, 2.0, replicas)
    measured_at = np.unique(np.geomspace(1, 100 * steps, 4 * steps).astype(int))
    measured_at = measured_at[np.linspace(0, len(measured_at) - 1, steps).astype(int)]
    rows = spectra = 0
    for place, step in enumerate(measured_at):
        with_grams = place % (steps // 6 or 1) == 0 or step == measured_at[-1]
        measured = measurement(int(step), speed, draw, grams=with_grams)
        records.write(int(step), float(step), measured)
        rows += len(measured.values) * replicas
        spectra += sum(values.numel() for values in measured.spectra.values())
    info = {"status": "done", "name": "bench_report", "seed": 0, "replicas": replicas, "steps": int(measured_at[-1])}
    lines = [{"name": "dnc", "value": 0.0686, "formula": "DNC"}, {"name": "srg", "value": 0.056, "formula": "SRG"}]
    ensemble = [{"replica": i, "seed": seed, **(swept or {})} for i, seed in enumerate(seeds)]
    write_json(run / REPLICAS, ensemble)
    write_json(run / REFERENCES, lines)
    RunFolder(run).update(**info)
    return rows, spectra


def measurement(
    step: int, speed: np.ndarray[tuple[int], np.dtype[np.float64]], draw: np.random.Generator, grams: bool
) -> Measurement:
    """Values that fall with the step, at every replica's own speed, with noise."""
    fall = torch.from_numpy(1 / (1 + speed * step))
    noise = torch.from_numpy(draw.uniform(0.9, 1.1, (80, len(speed))))
    values = {("train", "", "", name): 0.05 + fall * noise[i] for i, name in enumerate(("loss", "fit", "regulariser"))}
    values[("train", "", "", "accuracy")] = 1 - fall
    for place, (layer, stage) in enumerate(MEANS):
        for number, name in enumerate(MEASURES):
            values[("train", layer, stage, name)] = fall * noise[4 + 5 * place + number]
    for place, (layer, stage) in enumerate(WEIGHTS):
        for number, name in enumerate(WEIGHT_MEASURES):
            values[("", layer, stage, name)] = 10 * fall * noise[60 + 2 * place + number]
    descending = torch.from_numpy(np.sort(draw.uniform(0, 1, (len(speed), K)))[:, ::-1].copy())
    spectra = dict.fromkeys([*MEANS, *WEIGHTS], descending)
    gram = torch.eye(K, dtype=torch.float64).expand(len(speed), K, K)
    return Measurement(values, spectra=spectra, grams=dict.fromkeys(MEANS, gram) if grams else {})


def cost_of(command: list[str]) -> tuple[int, float, float, float]:
    """Exit status, seconds, processor seconds and peak resident memory (GiB) of a command."""
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = time.perf_counter() - start
    return os.waitstatus_to_exitcode(status), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**30


if __name__ == "__main__":
    sys.exit(main())
