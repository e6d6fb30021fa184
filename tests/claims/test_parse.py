"""What a claim may hold, and what is said about one that may not."""

import re
import subprocess
import sys

import pytest

from ncbench.claims import types as claims
from ncbench.claims.types import CHECKS, Condition, Selection, parse_claims
from ncbench.config.validate import validate
from ncbench.records.identity import config_hash
from ncbench.records.sync_claims import update_claims
from ncbench.report.verdicts import judge as judged
from ncbench.run.compose import compose_jobs, experiments

BASE = {"says": "Section 1.", "expect": "reproduced"}
SHARE = BASE | {"check": "share_below", "reference": "dnc", "at_least": 0.9}
RANK = {"measure": "rank", "layers": "intermediate", "stage": "pre", "over_layers": "max"}
VALUE = BASE | {"check": "value", "value": 1, "tolerance": 0.1}
MONOTONE = BASE | {"check": "monotone", "axis": "depth", "direction": "increasing", "at_least": 0.9}
SLOPE = BASE | {"check": "slope", "axis": "depth", "scale": "linear", "slope": 1, "absolute": 0.1}
ORDERING = BASE | {"check": "ordering", "smaller": RANK, "larger": RANK | {"stage": "post"}, "at_least": 0.9}
BOUNDARY = BASE | {"check": "boundary", "measure": "tail", "layers": "head", "stage": "weight", "over_layers": "max"}
BOUNDARY |= {"axis": "noise", "against": "weight_decay", "threshold": 0.01, "slope": 0.5, "absolute": 0.1}
GROUPS = BASE | {"check": "ordering", "smaller": {"meeting": {"below": 1}}, "larger": {"meeting": {"above": 1}}}
COUNT = BASE | {"check": "count", "below": 0.1, "at_least": 3}
EQUAL = BASE | {"check": "equal_ranks", "layers": "intermediate", "stage": "pre", "at_least": 0.8}


def without(claim, *keys):
    return {key: value for key, value in claim.items() if key not in keys}


def test_the_schema_and_the_report_know_the_same_checks():
    assert set(CHECKS) == set(judged.CHECKS)


def test_every_check_has_a_smallest_claim():
    above = without(SHARE, "reference") | {"check": "share_above", "above": 1}
    between = without(SHARE, "reference") | {"check": "share_between", "between": [5, 6]}
    smallest = [SHARE, above, between, VALUE, MONOTONE, SLOPE, BOUNDARY, ORDERING, COUNT, EQUAL]
    assert {claim.check for claim in parse_claims(smallest)} == set(CHECKS)


def test_groups_by_a_condition_are_compared_in_their_medians():
    (claim,) = parse_claims([GROUPS])
    assert claim.smaller == Selection(meeting=Condition(Selection(), below=1.0))
    same = GROUPS | {"larger": GROUPS["smaller"] | {"measure": "fit"}, "at_least": 0.9}
    assert parse_claims([same])[0].larger.meeting == claim.smaller.meeting


def test_a_claim_becomes_a_dataclass_with_defaults():
    (claim,) = parse_claims([SHARE | {"provided": RANK | {"between": [5, 6]}, "min_replicas": 8}])
    assert claim.selection == Selection("loss", None, (), None, "train", "last", None, {}, None)
    ranks = Selection("rank", layers=("intermediate",), stage="pre", over_layers="max")
    assert claim.provided == Condition(ranks, between=(5.0, 6.0))
    assert (claim.at_least, claim.reference, claim.by, claim.min_replicas) == (0.9, "dnc", "interval", 8)
    assert claim.given == SHARE | {"provided": RANK | {"between": [5, 6]}, "min_replicas": 8}
    assert parse_claims([EQUAL])[0].selection.measure == "rank"


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (SHARE | {"check": "shar_below"}, "claims[1].check=shar_below: unknown check (did you mean share_below?)"),
        (without(SHARE, "check"), "claims[1].check: a value is needed; one of share_below, "),
        (SHARE | {"at_least": 2}, "claims[1].at_least=2: must be in [0, 1]"),
        (SHARE | {"at_least": 1}, "claims[1].at_least=1: no interval lies at 1; use by: estimate, or less than 1"),
        (SHARE | {"at_least": True}, "claims[1].at_least=True: must be a number"),
        (SHARE | {"expect": "perhaps"}, "claims[1].expect=perhaps: must be one of reproduced, conditional, not repr"),
        (SHARE | {"at_leest": 1}, "claims[1].at_leest=1: share_below takes no such key (did you mean at_least?)"),
        (SHARE | {"slope": 1}, "claims[1].slope=1: share_below takes no such key"),
        (without(SHARE, "at_least"), "claims[1].at_least: a value is needed by share_below"),
        (without(SHARE, "says"), "claims[1].says: a value is needed by share_below"),
        (SHARE | {"says": " "}, "claims[1].says=: must be a text"),
        (SHARE | {"below": 1}, "claims[1]: share_below needs exactly one of below, reference"),
        (without(SHARE, "reference"), "claims[1]: share_below needs exactly one of below, reference"),
        (SHARE | {"stage": "pre"}, "claims[1].stage=pre: is for chosen layers; add layers"),
        (SHARE | {"stage": "mid"}, "claims[1].stage=mid: must be one of pre, post, weight"),
        (SHARE | without(RANK, "over_layers"), "claims[1].over_layers: a value is needed where several layers"),
        (
            SHARE | {"layers": []},
            "claims[1].layers=[]: must be intermediate, inner, head, all, or a list",
        ),
        (SHARE | {"measure": "sigma"}, "claims[1].index=None: needed by measure=sigma, and by no other"),
        (SHARE | {"index": 0}, "claims[1].index=0: must be a whole number >= 1"),
        (SHARE | {"at": "end"}, "claims[1].at=end: must be last, first, or a step >= 0"),
        (SHARE | {"where": []}, "claims[1].where=[]: must be a mapping of replicated or swept names to values"),
        (SHARE | {"where": {"depth": {}}}, "claims[1].where.depth={}: must be a value or a list of values"),
        (SHARE | {"provided": 3}, "claims[1].provided=3: must be a mapping of keys"),
        (SHARE | {"provided": RANK}, "claims[1].provided: provided needs exactly one of below, above, between"),
        (
            SHARE | {"provided": {"between": [6, 5]}},
            "claims[1].provided.between=[6, 5]: must be two numbers, the lower",
        ),
        (
            SHARE | {"provided": {"bellow": 1}},
            "claims[1].provided.bellow=1: provided takes no such key (did you mean be",
        ),
        (VALUE | {"at_most": 1}, "claims[1]: value needs value or reference with tolerance or absolute, or else"),
        (without(VALUE, "value"), "claims[1]: value needs value or reference with tolerance"),
        (without(VALUE, "tolerance"), "claims[1]: value needs value or reference with tolerance"),
        (VALUE | {"value": 0}, "claims[1].tolerance=0.1: is relative, and value is 0; use absolute"),
        (VALUE | {"tolerance": 0}, "claims[1].tolerance=0: must be > 0"),
        (VALUE | {"statistic": "best", "by": "interval"}, "claims[1].by=interval: best has none; leave it out"),
        (MONOTONE | {"axis": "step", "at": "first"}, "claims[1].at=first: with axis=step every step is taken"),
        (MONOTONE | {"axis": "layer"}, "claims[1].axis=layer: needs layers and stage, and takes no over_layers"),
        (MONOTONE | {"direction": "up"}, "claims[1].direction=up: must be one of increasing, decreasing"),
        (
            SLOPE | without(RANK, "over_layers") | {"axis": "layer", "scale": "loglog"},
            "claims[1].scale=loglog: layers are counted, not measured; use linear",
        ),
        (without(ORDERING, "at_least"), "claims[1].at_least=None: needed where both selections have the same `where`"),
        (ORDERING | {"smaller": RANK | {"where": {"depth": 3}}}, "claims[1].at_least=0.9: needed where both"),
        (ORDERING | {"larger": {"measur": "loss"}}, "claims[1].larger.measur=loss: larger takes no such key (did you"),
        (COUNT | {"at_least": 1.5}, "claims[1].at_least=1.5: must be a whole number >= 0"),
        (without(COUNT, "at_least"), "claims[1]: count needs at_least or at_most"),
        (EQUAL | {"over_layers": "max"}, "claims[1].over_layers=max: equal_ranks takes no such key"),
        (SHARE | {"source": "features"}, "claims[1].source=features: is for chosen layers; add layers"),
        (SHARE | RANK | {"source": 3}, "claims[1].source=3: must be a text"),
        (
            SHARE | RANK | {"measure": "sigma", "index": 2, "source": "features"},
            "claims[1].source=features: sigma has no source layers",
        ),
        (SHARE | {"relative_to_first": 1}, "claims[1].relative_to_first=1: must be true or false"),
        (
            SHARE | {"relative_to_first": True, "at": "first"},
            "claims[1].relative_to_first=True: at: first is divided by",
        ),
        (
            SHARE | {"relative_to_first": True, "relative_to": "dnc"},
            "claims[1].relative_to_first=True: a theory line has",
        ),
        (SHARE | {"relative_to_first": True, "measure": "line:dnc"}, "claims[1].relative_to_first=True: a theory line"),
        (SHARE | {"meeting": 3}, "claims[1].meeting=3: must be a mapping of keys"),
        (SHARE | {"meeting": RANK}, "claims[1].meeting: meeting needs exactly one of below, above, between"),
        (
            SHARE | {"meeting": {"below": 1, "meeting": {"below": 1}}},
            "claims[1].meeting.meeting={'below': 1}: meeting takes no such key",
        ),
        (GROUPS | {"at_least": 0.9}, "claims[1].at_least=0.9: needed where both selections have the same `where` and"),
        (EQUAL | {"meeting": {"below": 1}}, "claims[1].meeting={'below': 1}: equal_ranks takes no such key"),
        (BOUNDARY | {"axis": "layer"}, "claims[1].axis=layer: must be a replicated or swept value"),
        (BOUNDARY | {"against": "step"}, "claims[1].against=step: must be a replicated or swept value"),
        (BOUNDARY | {"against": "noise"}, "claims[1].against=noise: has to differ from axis"),
        (BOUNDARY | {"threshold": 0}, "claims[1].threshold=0: must be > 0"),
        (without(BOUNDARY, "threshold"), "claims[1].threshold: a value is needed by boundary"),
        (without(BOUNDARY, "over_layers"), "claims[1].over_layers: a value is needed where several layers"),
        ("share_below", "claims[1]=share_below: must be a mapping of keys"),
    ],
)
def test_one_line_per_mistake(claim, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        parse_claims([SHARE, claim])
    assert "\n" not in str(caught.value)


def test_a_planted_bug_is_seen(mutant):
    careless = mutant(claims, "!= 1:", "> 1:")
    assert careless.parse_claims([without(SHARE, "reference")])  # what the test above refuses


def test_a_configuration_with_a_wrong_claim_is_refused():
    (job,) = compose_jobs(["+experiment=digits_mlp"], multirun=False)
    with pytest.raises(ValueError, match=r"claims\[0\].check=share: unknown check"):
        validate({**job.values, "claims": [SHARE | {"check": "share"}]})
    with pytest.raises(ValueError, match="claims"):
        validate({**job.values, "claims": "none"})


@pytest.mark.parametrize(("name", "digits"), [("dufm_k10", "863607eced"), ("digits_mlp", "ce05bb7490")])
def test_claims_are_no_part_of_the_identity(name, digits):
    (job,) = compose_jobs([f"+experiment={name}"], multirun=False)
    assert job.values["claims"]
    assert config_hash(job.values).startswith(digits)
    assert config_hash({**job.values, "claims": [], "reproduces": {"paper": "x"}}).startswith(digits)


@pytest.mark.parametrize("name", sorted(experiments()))
def test_every_experiment_claims_something_once(name):
    (job,) = compose_jobs([f"+experiment={name}"], multirun=False)
    said = [claim.says for claim in parse_claims(job.config.claims)]
    assert said
    assert len(said) == len(set(said))


def test_a_quick_form_does_not_inherit_claims():
    (job,) = compose_jobs(["+experiment=cifar_resnet20_quick"], multirun=False)
    expected = [claim.expect for claim in parse_claims(job.config.claims)]
    assert expected[:2] == ["not reproduced", "not reproduced"]


def test_a_finished_run_gets_the_present_claims(tmp_path):
    path = tmp_path / "config.yaml"
    update_claims(tmp_path, {"claims": [SHARE]})
    assert not path.exists()  # nothing recorded, nothing to change
    path.write_text("name: mine\nclaims: []\nseed: 3\n")
    update_claims(tmp_path, {"claims": [SHARE], "reproduces": {"paper": "x"}, "seed": 4})
    assert judged.read_yaml(path) == {"name": "mine", "claims": [SHARE], "seed": 3, "reproduces": {"paper": "x"}}
    before = path.stat().st_mtime_ns
    update_claims(tmp_path, {"claims": [SHARE], "reproduces": {"paper": "x"}})
    assert path.stat().st_mtime_ns == before


def test_the_schema_needs_nothing_heavy():
    code = "import sys, ncbench.claims; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pandas', 'hydra')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
