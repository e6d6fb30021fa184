"""The light record of an experiment: what `docs/results` keeps of finished runs, a few ten kilobytes each.

    README.md     claims, verdicts, the paper's own figure, the command
    claims.json   verdicts with evidence
    run.json      of each run (below runs/ where there are several): versions, cost, machine, final values to six
                  digits (of several runs only those of whole networks), digests of the weights at every measured step
    config.yaml   the configuration (of the first run where there are several)
    summary.csv   the series that the claims and the figure use, to six digits
    figure.png    the figure that corresponds to the paper's, 120 dots per inch
    robustness.json, robustness.png   the claims at varied settings, where scripts/robustness.py --record was run
    verified.json where the runs were trained again with the same bits (`ncbench.sweep verify --note`); made anew
                  after the record is written again

The whole report, with every figure, the columnar records and the weights, belongs into the archive of a release
(scripts/archive.py).
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ncbench.claims.papers import PICTURES
from ncbench.records.cache import one_report
from ncbench.records.load import load_measures, load_references, load_spectra
from ncbench.records.proven_files import proven_yaml
from ncbench.records.run_info import read_run_info
from ncbench.records.runs import NoRecordsError, find_runs
from ncbench.records.schema import CLAIMS, CONFIG, RUN_INFO
from ncbench.records.settings import find_settings, with_setting
from ncbench.records.small_files import MOST_JSON, BadRecordsError, read_json, read_text
from ncbench.records.variations import ROBUSTNESS, ROBUSTNESS_PICTURE, read_varied
from ncbench.records.whole_files import write_bytes, write_text
from ncbench.report import figure
from ncbench.report.figures.style import to_light_png
from ncbench.report.pages.index import write_record_page
from ncbench.report.pages.report import write_report
from ncbench.report.settings import MEANS, final_table, quartiles, with_values
from ncbench.report.verdicts.judge import judge, write_claims

__all__ = ["summary_table", "write_record"]

DPI = 120
ALWAYS = frozenset({"loss", "accuracy"})  # what a reader looks for first, whatever is claimed
DRAWN = {  # the measures that a figure draws, where they are more than the claims name
    "seed_range": {"tcv_relative", "rank"},
    "size_scaling": {"stable_rank", "rank", "tcv_relative"},
    "predicted": {"norm", "distance"},
    "summary": {"rank", "dnc1"},
    "tails": {"tail"},
    "phase_diagram": {"tail"},
    "gram": {"rank", "dnc1"},
    "blocks": {"gram_block"},
    "end_states": {"grad_max"},
    "rank_over": {"rank", "grad_max"},
    "logits": {"rank"},
}
OVER_STEPS = {"loss": {"loss"}, "seed_range": {"loss", "tcv_relative"}, "collapse": {"dnc1"}}
MOST_STEPS = 20
MOST_SINGULAR_VALUES = 20


@one_report
def write_record(directory: Path, target: Path) -> Path:
    """Draws the report of the finished runs in `directory` and writes their light record into `target`.

    Returns `target`, which is replaced as a whole. Raises BadRecordsError where a run is not done, where the runs are
    of several experiments, or where the figure that corresponds to the paper's (`reproduces.picture`;
    `loss` without it) is none of the report or cannot be drawn of them. The old record is then left as it is. Findings
    at varied settings are kept where they are of the same configuration.
    """
    runs = find_runs(directory)
    infos = [read_run_info(run) for run in runs]
    for run, info in zip(runs, infos, strict=True):
        if info["status"] != "done":
            raise BadRecordsError(f"run={run}: its status is {info['status']}; only finished runs are recorded")
        if not (run / CONFIG).is_file():
            raise BadRecordsError(f"run={run}: has no {CONFIG}, and with it what the run claims")
    names = sorted({str(info["name"]) for info in infos})
    if len(names) > 1:
        raise BadRecordsError(f"runs of several experiments ({', '.join(names)}) need a record each")
    judgements = judge(directory)
    picture = str((judgements[0].reproduces or {}).get("picture") or "loss")
    if picture not in PICTURES:
        raise BadRecordsError(f"reproduces.picture={picture}: the report has no such figure")
    write_report(directory, directory, judgements)
    write_claims(judgements, directory / CLAIMS)
    # What can fail comes first: the old record stays until the new one can be written whole.
    try:
        drawn = to_light_png(getattr(figure, picture)(directory), DPI)
    except NoRecordsError as error:
        raise BadRecordsError(f"reproduces.picture={picture}: {error}") from error
    claims = proven_yaml(runs[0], CONFIG).get("claims") or {}
    stated = {name: claim for name, claim in claims.items() if claim and claim.get("source") != "self_test"}
    table = summary_table(directory, stated, picture)
    kept = _findings_of(target, {str(info["config_hash"]) for info in infos})
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, content in kept.items():
        write_bytes(target / name, content)
    for run in runs:
        inside = target if run == directory else target / "runs" / run.relative_to(directory)
        inside.mkdir(parents=True, exist_ok=True)
        _copy_run_info(run / RUN_INFO, inside / RUN_INFO, layers=len(runs) == 1)
    _copy(runs[0] / CONFIG, target / CONFIG)
    _copy(directory / CLAIMS, target / CLAIMS)
    write_text(target / "summary.csv", table.to_csv(index=False, float_format="%.6g"))
    write_bytes(target / "figure.png", drawn)
    write_record_page(target)
    return target


def _findings_of(record: Path, hashes: set[str]) -> dict[str, bytes]:
    """The files of a record that tell of varied settings, if they are of an experiment with these configurations."""
    varied = read_varied(record)
    if varied is None or not set(varied.experiment_hashes) <= hashes:
        return {}
    files = [record / name for name in (ROBUSTNESS, ROBUSTNESS_PICTURE)]
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def summary_table(directory: Path, claims: Mapping[str, Any], picture: str) -> pd.DataFrame:
    """Medians, quartiles and extremes over the replicas of a setting, of what the claims and the figure use.

    The rows of `table.csv` (`ncbench.report.settings.final_table`) with those measures, the same of earlier steps where
    the figure draws a measure over steps (20 of them), singular values (measure `singular_value`, with their `index`
    from 1) where a claim or the figure is about spectra, and the theory lines as measure `line:NAME`. A numerical rank
    depends on its threshold: with it come the effective rank and, of one setting, the singular values.
    """
    named = set(_named(claims, "measure"))
    table = final_table(directory).drop(columns=MEANS)
    over_steps = OVER_STEPS.get(picture, set())
    wanted = named | ALWAYS | DRAWN.get(picture, set()) | over_steps
    wanted |= {"effective_rank"} if "rank" in wanted else set()
    parts = [table[table["measure"].isin(wanted)], _over_steps(directory, over_steps)]
    indices = {int(index) for index in _named(claims, "index")}
    if picture in ("spectra", "tails") or ("rank" in wanted and len(find_settings(directory)) == 1):
        indices |= set(range(1, MOST_SINGULAR_VALUES + 1))
    if indices:
        parts.append(_singular_values(directory, sorted(indices | {1})))
    parts.append(_lines(directory))
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else table[:0]


def _named(claims: Any, key: str) -> Iterable[Any]:
    """Every value under a key of the claims, at any depth."""
    if isinstance(claims, Mapping):
        for name, value in claims.items():
            if name == key and not isinstance(value, Mapping):
                yield value
            yield from _named(value, key)
    elif isinstance(claims, list):
        for value in claims:
            yield from _named(value, key)


def _over_steps(directory: Path, measures: set[str]) -> pd.DataFrame:
    """Quartiles of these measures at 20 of the recorded steps, but the last, which the table of final values has."""
    if not measures:
        return pd.DataFrame()
    settings = find_settings(directory)
    frame = load_measures(directory, measures=sorted(measures))
    steps = sorted(frame["step"].unique())[:-1]
    chosen = {steps[round(i * (len(steps) - 1) / (MOST_STEPS - 1))] for i in range(MOST_STEPS)} if steps else set()
    frame = with_setting(frame[frame["step"].isin(chosen)], settings)
    return with_values(quartiles(frame, ["setting", "split", "layer", "stage", "measure", "step"]), settings)


def _singular_values(directory: Path, indices: list[int]) -> pd.DataFrame:
    settings = find_settings(directory)
    frame = with_setting(load_spectra(directory, steps="last", indices=[i - 1 for i in indices]), settings)
    table = quartiles(frame, ["setting", "layer", "stage", "index", "step"], column="singular_value")
    return with_values(table.assign(measure="singular_value", index=table["index"].astype(int) + 1), settings)


def _lines(directory: Path) -> pd.DataFrame:
    """The theory lines that have one value, once for each run and value."""
    references = load_references(directory)
    rows = references[references["value"].notna()]
    measures = [f"line:{name}" for name in rows["name"]]
    table = pd.DataFrame({"run": rows["run"].astype(str), "measure": measures, "median": rows["value"]})
    return table.drop_duplicates(ignore_index=True)


def _six_digits(value: Any) -> Any:
    """The value with every number in it as `summary.csv` has it; the digests tell more of the run than more digits."""
    if isinstance(value, Mapping):
        return {key: _six_digits(inside) for key, inside in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _copy_run_info(source: Path, target: Path, layers: bool) -> None:
    """Copies a run.json without blanks; of a grid without the values of layers, which are half of its record's bytes.

    What the claims use of them is in `summary.csv`.
    """
    info = read_json(source)
    final = info.get("final") or {}
    info["final"] = _six_digits({name: value for name, value in final.items() if layers or "." not in name})
    write_text(target, _without_folders(json.dumps(info, separators=(",", ":")) + "\n"))


def _copy(source: Path, target: Path) -> None:
    """Copies a text file as it is, but for the folders of this machine."""
    text = read_text(source, MOST_JSON)
    if source.suffix == ".json":
        read_json(source)
    write_text(target, _without_folders(text))


def _without_folders(text: str) -> str:
    """The text without the folders of this machine in which data and runs lay."""
    # A job of a grid has its folder in quotes for Hydra inside of quotes for the shell, escaped where it is JSON.
    text = re.sub(r"""'([\w.]*(?:root|dir)=)'\\?"'\\?"'/[^\s"',\\]+'\\?"'\\?"''""", r"\1DIR", text)
    return re.sub(r"(root|dir)(=|: )/[^\s\"',]+", r"\1\2DIR", text)
