"""What a page says first: one sentence on what was run and what came out, and the configuration that matters."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ncbench.records.computed import Values, computed
from ncbench.records.load import load_run_info
from ncbench.records.runs import Dir
from ncbench.records.settings import find_settings
from ncbench.report.pages.badges import plain_text, tally
from ncbench.report.pages.headline import Table

if TYPE_CHECKING:
    from ncbench.report.verdicts.judge import Judgement

MOST_VALUES = 4  # of a key that are listed; of more the first and the last
# What a reader asks for first, with the keys that hold it: the first that has a value.
SHOWN = (
    ("data", ("dataset._target_", "dataset.kind")),
    ("classes", ("dataset.classes",)),
    ("samples per class", ("dataset.per_class",)),
    ("samples", ("dataset.samples",)),
    ("network", ("model.backbone._target_", "model._target_", "model.kind")),
    ("depth", ("model.depth",)),
    ("width", ("model.width",)),
    ("activation", ("model.activation",)),
    ("scale of the start", ("replicate.init_scale", "model.init_scale")),
    ("loss", ("objective.loss",)),
    ("weight decay", ("replicate.weight_decay", "replicate.decay", "objective.weight_decay", "optimizer.weight_decay")),
    ("feature decay", ("replicate.feature_decay", "replicate.decay", "objective.feature_decay")),
    ("regulariser", ("objective.regulariser",)),
    ("optimiser", ("optimizer._target_", "optimizer.kind")),
    ("rate", ("replicate.lr", "optimizer.lr")),
    ("momentum", ("optimizer.momentum",)),
    ("batch", ("dataset.batch_size",)),
    ("schedule", ("schedule.kind",)),
    ("steps", ("schedule.steps",)),
    ("epochs", ("trainer.max_epochs",)),
    ("precision", ("trainer.precision",)),
)


def configuration(dir: Dir) -> list[tuple[str, str]]:
    """Name and value of what was chosen for the runs: every value where they differ, nothing that no run has."""
    configured = [values for values in computed(dir).values() if values is not None]
    rows = [(name, several(_value(values, keys) for values in configured)) for name, keys in SHOWN]
    return [(name, value) for name, value in rows if value]


def _value(values: Values, keys: Sequence[str]) -> Any:
    found = next(((key, values[key]) for key in keys if values.get(key) is not None), None)
    if found is None:
        full_batch = keys == ("dataset.batch_size",) and str(values.get("schedule.kind", "")).startswith("full_batch")
        return "all samples" if full_batch else None
    key, value = found
    if key.endswith("_target_"):
        return str(value).rsplit(".", 1)[-1]
    if key.startswith("replicate.") and isinstance(value, str):
        return several(json.loads(value))
    return value


def several(values: Iterable[Any]) -> str:
    """Different values in one text; of many the first, the last and how many.

    >>> several([0.1, None, 0.1]), several([1, 2]), several(range(9))
    ('0.1', '1, 2', '0 ... 8 (9 values)')
    """
    texts = list(dict.fromkeys(plain_text(value) for value in values if value is not None))
    if len(texts) <= MOST_VALUES:
        return ", ".join(texts)
    return f"{texts[0]} ... {texts[-1]} ({len(texts)} values)"


def sentence(dir: Dir, headline: Table, judgements: "Sequence[Judgement]") -> str:
    """What was run and what came out, in one sentence: networks, data, length; final loss, accuracy, rank; claims."""
    chosen, settings, infos = dict(configuration(dir)), find_settings(dir), load_run_info(dir)
    count = sum(len(setting.networks) for setting in settings)
    what = f"{count} network" + "s" * (count != 1)
    what += f" in {len(infos)} runs" if len(infos) > 1 else ""
    if "network" in chosen:
        size = [f"{name} {chosen[name]}" for name in ("depth", "width") if name in chosen]
        what += f" ({', '.join([chosen['network'], *size])})"
    what += f" on {chosen['data']}" if "data" in chosen else ""
    how = [f" with {chosen['loss']}"] if "loss" in chosen else []
    how += [f" for {chosen[name]} {name}" for name in ("epochs", "steps") if name in chosen][:1]
    what += f", trained{''.join(how)}" if how else ""
    outcome = "; ".join(_outcome(headline, infos, judgements))
    return f"{what}: {outcome}." if outcome else f"{what}."


def _outcome(headline: Table, infos: dict[str, dict[str, Any]], judgements: "Sequence[Judgement]") -> list[str]:
    """What came out: the numbers of one setting, or how many settings the page compares."""
    said = []
    if len(headline.rows) == 1:
        values = dict(zip(headline.header, headline.rows[0], strict=True))
        accuracy = "test accuracy" if values.get("test accuracy") else "accuracy"
        for name in ("final loss", accuracy, "rank, intermediate layers"):
            said += [f"{name} {values[name]}"] if values.get(name) else []
        said += [f"{value} {name}" for name, value in values.items() if name.startswith("below ") and value]
    else:
        said.append(f"{len(headline.rows)} settings compared below")
    states = Counter(str(info.get("status")) for info in infos.values())
    said += [f"{number} {state}" for state, number in states.items() if state != "done"]
    verdicts = [verdict.verdict for judgement in judgements for verdict in judgement.verdicts]
    return [*said, f"claims: {tally(verdicts)}"] if verdicts else said
