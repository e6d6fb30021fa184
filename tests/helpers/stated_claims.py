"""Claims of runs made by hand, for the tests of checks and of judgements."""

from ncbench.report.verdicts.judge import judge
from tests.helpers.run_folders import write_values


def claim(check, expect="holds", **keys):
    return {"statement": f"{check} of the paper", "source": "ours", "check": check, "expect": expect, **keys}


def named(*stated):
    """These claims under names, as a configuration has them."""
    return {f"claim_{place}": keys for place, keys in enumerate(stated)}


def verdict(tmp_path, stated, values, **record):
    """The verdict on one claim of one run."""
    write_values(tmp_path / "run", values, named(stated), **record)
    ((decided,),) = (judgement.verdicts for judgement in judge(tmp_path))
    return decided


BELOW = claim("share_below", reference="dnc", at_least=0.9)
MONOTONE = claim("monotone", axis="weight_decay", direction="increasing", at_least=0.7)
EQUAL = claim("equal_ranks", layers="intermediate", stage="pre", at_least=0.8)
