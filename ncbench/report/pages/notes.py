"""What a reader of a page has to know about its settings: which networks were counted, and which were not."""

from ncbench.records.load import load_run_info
from ncbench.records.runs import Dir
from ncbench.records.settings import find_settings, repeated_networks

MOST_NAMED = 5


def notes(dir: Dir) -> list[str]:
    """Sentences on settings of several runs, on networks that are there twice, and on runs that are not done."""
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
        if infos[network.run].get("status") != "done"
    ]
    if unfinished:
        more = f" and {len(unfinished) - MOST_NAMED} more" if len(unfinished) > MOST_NAMED else ""
        found.append(
            f"Not done, and in the values of their settings with what they recorded last: "
            f"{', '.join(unfinished[:MOST_NAMED])}{more}."
        )
    return found
