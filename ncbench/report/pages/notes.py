"""What a reader of a page has to know of its records: which networks were counted, which not, what nothing proves."""

from typing import Any

from ncbench.records.load import load_run_info
from ncbench.records.parts import without_proof
from ncbench.records.runs import Dir, named_runs
from ncbench.records.schema import MANIFEST
from ncbench.records.settings import find_settings, repeated_networks

MOST_NAMED = 5


def notes(dir: Dir) -> list[str]:
    """Sentences on settings of several runs, networks that are there twice, and runs not proven or not done."""
    settings, repeated, infos = find_settings(dir), repeated_networks(dir), load_run_info(dir)
    found = []
    if any(len(setting.runs) > 1 for setting in settings):
        sizes = sorted({len(setting.networks) for setting in settings})
        each = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        of = "1 setting" if len(settings) == 1 else f"{len(settings)} settings"
        found.append(
            f"Runs that differ in nothing but the seed are one setting: {len(infos)} runs, {of} with {each} networks "
            "each; medians, quartiles, shares and bands are taken over these networks."
        )
    if repeated:
        pairs = dict.fromkeys((each.network.run, each.counted.run) for each in repeated)
        named = [f"{run} (as {counted})" for run, counted in list(pairs)[:MOST_NAMED]]
        more = f" and {len(pairs) - MOST_NAMED} more" if len(pairs) > MOST_NAMED else ""
        networks = "1 network" if len(repeated) == 1 else f"{len(repeated)} networks"
        found.append(
            f"Counted once: {networks} that two runs hold, with the same configuration and seed. "
            f"Left out: {', '.join(named)}{more}."
        )
    unfinished = [
        f"{setting.label} ({setting.name_of(number)}: {infos[network.run].get('status')})"
        for setting in settings
        if len(setting.runs) > 1
        for number, network in enumerate(setting.networks)
        if not _done(infos[network.run])
    ]
    unproven = [name for name, run in named_runs(dir).items() if _done(infos[name]) and without_proof(run)]
    if unproven:
        more = f" and {len(unproven) - MOST_NAMED} more" if len(unproven) > MOST_NAMED else ""
        found.append(
            f"Nothing proves that these records are as they were written, as they have no {MANIFEST}: "
            f"{', '.join(unproven[:MOST_NAMED])}{more}."
        )
    if unfinished:
        more = f" and {len(unfinished) - MOST_NAMED} more" if len(unfinished) > MOST_NAMED else ""
        found.append(
            f"Not done, and in the values of their settings with what they recorded last: "
            f"{', '.join(unfinished[:MOST_NAMED])}{more}."
        )
    return found


def _done(info: dict[str, Any]) -> bool:
    return info.get("status") == "done"
