"""Vary what a paper leaves open, one setting at a time, and see which claims keep their outcome.

    python scripts/robustness.py EXPERIMENT [--seeds 40] [--record] [KEY=VALUE ...]

The settings stand in the experiment's `open:` block (key -> values). Each is trained as the experiment with that one
key changed and with fewer seeds, judged by the experiment's claims, and listed beside the experiment itself.
KEY=VALUE holds for every setting (trainer.threads=1, dataset.root=DIR).

Writes robustness.json and robustness.png into outputs/robustness/EXPERIMENT, and with --record into the experiment's
record in docs/results, whose page and the index then use them. Started again it continues. Exit status: 2 for wrong
input, 1 where a training failed.
"""

import argparse
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ncbench.config.identity import differences
from ncbench.records.run_hash import config_hash
from ncbench.records.runs import find_runs
from ncbench.records.small_files import read_json
from ncbench.records.variations import ROBUSTNESS, ROBUSTNESS_PICTURE, Variation, Varied, write_varied
from ncbench.report import figure
from ncbench.report.figures.style import to_light_png
from ncbench.report.pages.entries import machine_of
from ncbench.report.pages.index import write_record_page
from ncbench.report.verdicts.judge import judge
from ncbench.report.verdicts.varied import variation_of
from ncbench.run.compose import Command, compose_command
from ncbench.train import main as train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
DPI = 110


def main() -> int:
    """Train every setting that is not done, judge all, write the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*")
    parser.add_argument("--seeds", type=int, default=40, help="replicas per setting, where the experiment has seeds")
    parser.add_argument("--record", action="store_true", help="also into docs/results/EXPERIMENT")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "robustness", metavar="DIR")
    arguments = parser.parse_intermixed_args()
    try:
        return vary(arguments)
    except (ValueError, OSError) as error:
        print(f"robustness: {error}", file=sys.stderr)
        return 2


def vary(arguments: Any) -> int:
    """The whole command; the exit status."""
    name, folder = arguments.experiment, arguments.out / arguments.experiment
    experiment = compose_command([f"+experiment={name}"], multirun=False)
    axes = {key: values for key, values in experiment.jobs[0].config.open.items() if values is not None}
    if not axes:
        raise ValueError(f"{name}: its file has no `open:` settings to vary")
    record = RESULTS / name
    if arguments.record and not record.is_dir():
        raise ValueError(f"--record: {name} has no record in docs/results")
    # Every setting is composed before the first is trained: a wrong one in the last place costs no training.
    for factor, value in settings(axes):
        compose_command(overrides_of(experiment, arguments, factor, value), multirun=False)
    variations: list[Variation] = []
    infos: list[dict[str, Any]] = []
    status = 0
    for factor, value in settings(axes):
        own = folder / (re.sub(r"[^\w.-]+", "-", f"{factor} {value}") if factor else "as_it_is")
        status = max(status, trained(overrides_of(experiment, arguments, factor, value), own))
        if status == 2:
            return 2
        (judgement,) = judge(own)
        variations.append(variation_of(factor, value, judgement))
        infos += [read_json(run / "run.json") for run in find_runs(own)]
    command = ["python", "scripts/robustness.py", name, "--seeds", str(arguments.seeds), *arguments.overrides]
    varied = Varied(
        experiment=experiment.jobs[0].config.name,
        experiment_hashes=sorted({config_hash(differences(job.config)) for job in experiment.jobs}),
        command=shlex.join("dataset.root=DIR" if word.startswith("dataset.root=") else word for word in command),
        machine=machine_of(infos),
        wall_seconds=sum(info.get("wall_seconds") or 0.0 for info in infos),
        variations=variations,
    )
    write_varied(varied, folder)
    (folder / ROBUSTNESS_PICTURE).write_bytes(to_light_png(figure.robustness(folder), DPI))
    print(f"{folder / ROBUSTNESS}: {len(variations) - 1} settings, {varied.wall_seconds:.0f} s")
    for claim, changes in varied.changed().items():
        print(f"  {claim} changes: {', '.join(changes)}")
    if arguments.record:
        for file in (ROBUSTNESS, ROBUSTNESS_PICTURE):
            shutil.copy(folder / file, record / file)
        print(write_record_page(record))
    return status


def settings(axes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, value as it is written in an override), the experiment itself first."""
    yield "", ""
    for key, values in axes.items():
        for value in values:
            yield key, value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def overrides_of(experiment: Command, arguments: Any, factor: str, value: str) -> list[str]:
    """The command line of a setting: fewer seeds where the experiment has more, and the one key that differs."""
    seeds = experiment.jobs[0].config.replicate.get("seed")
    fewer = isinstance(seeds, int) and seeds > arguments.seeds and factor != "replicate.seed"
    return [
        f"+experiment={arguments.experiment}",
        *([f"replicate.seed={arguments.seeds}"] if fewer else []),
        *([f"{factor}={value}"] if factor else []),
        *arguments.overrides,
    ]


def trained(overrides: list[str], folder: Path) -> int:
    """Train a setting in its folder, which is left as it is when it is done; the exit status."""
    print(f"== {' '.join(overrides)}", flush=True)
    places = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
    return train([*overrides, "trainer.progress=false", *places])


if __name__ == "__main__":
    sys.exit(main())
