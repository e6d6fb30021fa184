"""What a claim may hold, and what is said about one that may not."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ncbench.claims import rules
from ncbench.claims.papers import paper_of
from ncbench.claims.parse import parse_claims
from ncbench.claims.selection import Condition, Selection
from ncbench.claims.types import CHECKS
from ncbench.config.identity import differences
from ncbench.config.validate import validate
from ncbench.records.run_hash import config_hash
from ncbench.records.small_files import read_yaml
from ncbench.records.sync_claims import update_claims
from ncbench.report.verdicts import judge as judged
from ncbench.run.compose import compose_jobs, experiments

BASE = {"statement": "Section 1.", "source": "ours", "expect": "holds"}
SHARE = BASE | {"check": "share_below", "reference": "dnc", "at_least": 0.9}
RANK = {"measure": "rank", "layers": "intermediate", "stage": "pre", "reduce_layers": "max"}
VALUE = BASE | {"check": "value", "value": 1, "tolerance": 0.1}
MONOTONE = BASE | {"check": "monotone", "axis": "depth", "direction": "increasing", "at_least": 0.9}
SLOPE = BASE | {"check": "slope", "axis": "depth", "scale": "linear", "slope": 1, "absolute": 0.1}
ORDERING = BASE | {"check": "ordering", "smaller": RANK, "larger": RANK | {"stage": "post"}, "at_least": 0.9}
BOUNDARY = BASE | {"check": "boundary", "measure": "tail", "layers": "head", "stage": "weight", "reduce_layers": "max"}
BOUNDARY |= {"axis": "noise", "against": "weight_decay", "threshold": 0.01, "slope": 0.5, "absolute": 0.1}
GROUPS = BASE | {"check": "ordering", "smaller": {"given": {"below": 1}}, "larger": {"given": {"above": 1}}}
COUNT = BASE | {"check": "count", "below": 0.1, "at_least": 3}
EQUAL = BASE | {"check": "equal_ranks", "layers": "intermediate", "stage": "pre", "at_least": 0.8}


def without(claim, *keys):
    return {key: value for key, value in claim.items() if key not in keys}


def test_every_type_of_claim_has_a_function_that_judges_it():
    assert set(CHECKS.values()) == set(judged.CHECKS)


def test_every_check_has_a_smallest_claim():
    above = without(SHARE, "reference") | {"check": "share_above", "above": 1}
    between = without(SHARE, "reference") | {"check": "share_between", "between": [5, 6]}
    levels = without(SHARE, "reference") | {"check": "share_at_levels", "levels": ["dnc"], "absolute": 1e-4}
    levels |= {"stationary": 1e-6}
    crossing = without(BOUNDARY, "against", "slope", "absolute") | {"check": "crossing", "value": 1.0, "tolerance": 0.1}
    smallest = [SHARE, above, between, levels, crossing, VALUE, MONOTONE, SLOPE, BOUNDARY, ORDERING, COUNT, EQUAL]
    claims = parse_claims({f"claim_{place}": keys for place, keys in enumerate(smallest)})
    assert {claim.check for claim in claims.values()} == set(CHECKS)


def parsed(**keys):
    return parse_claims({"only": keys})["only"]


def test_groups_by_a_condition_are_compared_in_their_medians():
    claim = parsed(**GROUPS)
    assert claim.smaller == Selection(given=Condition(below=1.0))
    same = GROUPS | {"larger": GROUPS["smaller"] | {"measure": "fit"}, "at_least": 0.9}
    assert parsed(**same).larger.given == claim.smaller.given


def test_a_claim_becomes_an_object_with_defaults():
    claim = parsed(**SHARE, given=RANK | {"between": [5, 6]}, min_replicas=8)
    assert claim.selection == Selection(measure="loss", step="last", split="train", given=claim.given)
    ranks = Selection(measure="rank", layers="intermediate", stage="pre", reduce_layers="max")
    assert claim.given.selection == ranks
    assert claim.given.between == (5.0, 6.0)
    assert (claim.at_least, claim.reference, claim.by, claim.min_replicas) == (0.9, "dnc", "interval", 8)
    assert parsed(**EQUAL).joined("max") == Selection(
        measure="rank", layers=("intermediate",), stage="pre", reduce_layers="max"
    )


def test_null_takes_back_what_was_inherited():
    keys = SHARE | {"where": {"width": None, "depth": 3}, "by": None, "given": None, "expect": None}
    claims = parse_claims({"gone": None, "kept": keys})
    assert list(claims) == ["kept"]
    assert (claims["kept"].where, claims["kept"].by, claims["kept"].expect) == ({"depth": 3}, "interval", None)
    assert parse_claims(None) == {}


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        (
            [SHARE],
            "claims: a list was the form before version 0.2, now every claim has a name; running the same command ",
        ),
        ("none", "claims=none: must be a mapping of names to claims"),
        ({"Below DNC": SHARE}, "claims.Below DNC={'statement'"),
        ({3: SHARE}, "claims.3={'statement'"),
    ],
)
def test_claims_are_a_mapping_of_names(claims, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        parse_claims(claims)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (SHARE | {"check": "shar_below"}, "claims.second.check=shar_below: unknown check (did you mean share_below?)"),
        (without(SHARE, "check"), "claims.second.check: a value is needed; one of monotone, "),
        (SHARE | {"at_least": 2}, "claims.second.at_least=2: must be in [0, 1]"),
        (SHARE | {"at_least": 1}, "claims.second.at_least=1: no interval lies at 1; use by: estimate, or less than 1"),
        (SHARE | {"at_least": True}, "claims.second.at_least=True: must be a number"),
        (SHARE | {"at_least": "0.9"}, "claims.second.at_least=0.9: must be a number"),
        (SHARE | {"at_least": float("nan")}, "claims.second.at_least=nan: must be a finite number"),
        (SHARE | {"where": {"noise": float("inf")}}, "claims.second.where.noise=inf: must hold finite numbers"),
        (SHARE | {"source": "theirs"}, "claims.second.source=theirs: must be one of paper, derived, ours, self_test"),
        (without(SHARE, "source"), "claims.second.source: a value is needed by share_below"),
        (SHARE | {"expect": "reproduced"}, "claims.second.expect=reproduced: must be one of holds, fails, undecided"),
        (
            SHARE | {"source": "paper"},
            "claims.second.paper_claim=None: a value is needed where source is paper: the na",
        ),
        (SHARE | {"paper_claim": "below"}, "claims.second.paper_claim=below: is for source=paper"),
        (SHARE | {"source": "paper", "paper_claim": ""}, "claims.second.paper_claim=: must be a text"),
        (SHARE | {"at_leest": 1}, "claims.second.at_leest=1: share_below takes no such key (did you mean at_least?)"),
        (SHARE | {"slope": 1}, "claims.second.slope=1: share_below takes no such key"),
        (without(SHARE, "at_least"), "claims.second.at_least: a value is needed by share_below"),
        (without(SHARE, "statement"), "claims.second.statement: a value is needed by share_below"),
        (SHARE | {"statement": " "}, "claims.second.statement=: must be a text"),
        (SHARE | {"below": 1}, "claims.second: share_below needs exactly one of below, reference"),
        (without(SHARE, "reference"), "claims.second: share_below needs exactly one of below, reference"),
        (SHARE | {"stage": "pre"}, "claims.second.stage=pre: is for chosen layers; add layers"),
        (SHARE | {"stage": "mid"}, "claims.second.stage=mid: must be one of pre, post, weight"),
        (SHARE | without(RANK, "reduce_layers"), "claims.second.reduce_layers=None: a value is needed where several"),
        (
            SHARE | {"layers": []},
            "claims.second.layers=[]: must be intermediate, inner, head, all, or a list",
        ),
        (SHARE | {"measure": "sigma"}, "claims.second.index=None: is needed by measure=sigma, and by no other"),
        (SHARE | {"index": 0}, "claims.second.index=0: must be a whole number >= 1"),
        (SHARE | {"step": "end"}, "claims.second.step=end: must be last, first, or a step >= 0"),
        (SHARE | {"where": []}, "claims.second.where=[]: must be a mapping of replicated or swept names to values"),
        (SHARE | {"where": {"depth": {}}}, "claims.second.where.depth={}: must be a value or a list of values"),
        (SHARE | {"condition": {"below": 1}}, "claims.second.condition={'below': 1}: share_below takes no such key"),
        (SHARE | {"given": {"between": [6, 5]}}, "claims.second.given.between=[6, 5]: must be two numbers, the lower"),
        (SHARE | {"given": {"bellow": 1}}, "claims.second.given.bellow=1: given takes no such key (did you mean be"),
        (VALUE | {"at_most": 1}, "claims.second: value needs value or reference with tolerance or absolute, or else"),
        (without(VALUE, "value"), "claims.second: value needs value or reference with tolerance"),
        (without(VALUE, "tolerance"), "claims.second: value needs value or reference with tolerance"),
        (VALUE | {"value": 0}, "claims.second.tolerance=0.1: is relative, and value is 0; use absolute"),
        (VALUE | {"tolerance": 0}, "claims.second.tolerance=0: must be > 0"),
        (
            VALUE | {"statistic": "best", "by": "interval"},
            "claims.second.by=interval: best has no interval; leave it out",
        ),
        (MONOTONE | {"axis": "step", "step": "first"}, "claims.second.step=first: with axis=step every step is taken"),
        (MONOTONE | {"axis": "layer"}, "claims.second.axis=layer: needs layers and stage, and takes no reduce_layers"),
        (MONOTONE | {"direction": "up"}, "claims.second.direction=up: must be one of increasing, decreasing"),
        (
            SLOPE | without(RANK, "reduce_layers") | {"axis": "layer", "scale": "loglog"},
            "claims.second.scale=loglog: layers are counted, not measured; use linear",
        ),
        (without(ORDERING, "at_least"), "claims.second.at_least=None: give a share of replicas if, and only if, both"),
        (
            ORDERING | {"smaller": RANK | {"where": {"depth": 3}}},
            "claims.second.at_least=0.9: give a share of replicas if, and only if, both",
        ),
        (
            ORDERING | {"larger": {"measur": "loss"}},
            "claims.second.larger.measur=loss: larger takes no such key (did you",
        ),
        (COUNT | {"at_least": 1.5}, "claims.second.at_least=1.5: must be a whole number >= 0"),
        (without(COUNT, "at_least"), "claims.second: count needs at_least or at_most"),
        (COUNT | {"at_most": 2}, "claims.second.at_most=2: must not be less than at_least=3"),
        (
            BASE | {"check": "value", "at_least": 3, "at_most": 2.5},
            "claims.second.at_most=2.5: must not be less than at_least=3",
        ),
        (EQUAL | {"reduce_layers": "max"}, "claims.second.reduce_layers=max: equal_ranks takes no such key"),
        (SHARE | {"source_layer": "features"}, "claims.second.source_layer=features: is for chosen layers; add layers"),
        (SHARE | RANK | {"source_layer": 3}, "claims.second.source_layer=3: must be a text"),
        (
            SHARE | RANK | {"measure": "sigma", "index": 2, "source_layer": "features"},
            "claims.second.source_layer=features: sigma has no source layers",
        ),
        (
            SHARE | RANK | {"measure": "sigma", "index": 2, "split": "test"},
            "claims.second.split=test: singular values are of the training data",
        ),
        (SHARE | {"relative_to_first": 1}, "claims.second.relative_to_first=1: must be true or false"),
        (
            SHARE | {"relative_to_first": True, "step": "first"},
            "claims.second.relative_to_first=True: with step: first a value is",
        ),
        (
            SHARE | {"relative_to_first": True, "relative_to": "dnc"},
            "claims.second.relative_to_first=True: a theory line has",
        ),
        (
            SHARE | {"relative_to_first": True, "measure": "line:dnc"},
            "claims.second.relative_to_first=True: a theory line",
        ),
        (SHARE | {"given": 3}, "claims.second.given=3: must be a mapping of keys"),
        (SHARE | {"given": RANK}, "claims.second.given: a condition needs exactly one of below, above, between"),
        (
            SHARE | {"given": {"below": 1, "given": {"below": 1}}},
            "claims.second.given.given={'below': 1}: given takes no such key",
        ),
        (GROUPS | {"at_least": 0.9}, "claims.second.at_least=0.9: give a share of replicas if, and only if, both"),
        (EQUAL | {"given": {"below": 1}}, "claims.second.given={'below': 1}: equal_ranks takes no such key"),
        (BOUNDARY | {"axis": "layer"}, "claims.second.axis=layer: must be a replicated or swept value"),
        (BOUNDARY | {"against": "step"}, "claims.second.against=step: must be a replicated or swept value"),
        (BOUNDARY | {"against": "noise"}, "claims.second.against=noise: has to differ from axis"),
        (BOUNDARY | {"threshold": 0}, "claims.second.threshold=0: must be > 0"),
        (without(BOUNDARY, "threshold"), "claims.second.threshold: a value is needed by boundary"),
        (without(BOUNDARY, "reduce_layers"), "claims.second.reduce_layers=None: a value is needed where several"),
        ("share_below", "claims.second=share_below: must be a mapping of keys"),
    ],
)
def test_one_line_per_mistake(claim, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        parse_claims({"first": SHARE, "second": claim})
    assert "\n" not in str(caught.value)


LEVELS = without(SHARE, "reference") | {"check": "share_at_levels", "absolute": 1e-4, "stationary": 1e-6}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"levels": []}, "claims.only.levels=[]: must name at least one"),
        ({"levels": ["dnc", "diverged"]}, "claims.only.levels=diverged: must not have the name of a state"),
        (
            {"levels": ["dnc"], "measure": "rank"},
            "claims.only.measure=rank: levels are of the loss itself",
        ),
        ({"levels": ["dnc"], "relative_to": "dnc"}, "claims.only.relative_to=dnc: levels are of the loss itself"),
    ],
)
def test_levels_are_those_of_the_loss(keys, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parsed(**LEVELS, **keys)


def test_a_planted_bug_is_seen(mutant):
    careless = mutant(rules, "!= 1:", "> 1:")
    neither = SimpleNamespace(below=None, reference=None)
    careless.check_one_of("share_below", neither, ("below", "reference"))  # what the test above refuses
    with pytest.raises(Exception, match="exactly one of"):
        rules.check_one_of("share_below", neither, ("below", "reference"))


def test_a_configuration_with_a_wrong_claim_is_refused():
    (job,) = compose_jobs(["+experiment=digits_mlp"], multirun=False)
    with pytest.raises(ValueError, match=r"claims\.first\.check=share: unknown check"):
        validate({**job.values, "claims": {"first": SHARE | {"check": "share"}}})
    with pytest.raises(ValueError, match="claims"):
        validate({**job.values, "claims": "none"})


@pytest.mark.parametrize(("name", "digits"), [("dufm_k10", "ca487b42f1"), ("digits_mlp", "7c732f5b14")])
def test_claims_are_no_part_of_the_identity(name, digits):
    (job,) = compose_jobs([f"+experiment={name}"], multirun=False)
    assert job.values["claims"]
    assert config_hash(differences(job.config)).startswith(digits)
    without = validate({**job.values, "claims": {}, "reproduces": None})
    assert config_hash(differences(without)).startswith(digits)


@pytest.mark.parametrize("name", sorted(experiments()))
def test_every_experiment_claims_something_once(name):
    (job,) = compose_jobs([f"+experiment={name}"], multirun=False)
    claims = parse_claims(job.config.claims).values()
    stated = [claim.model_dump_json(exclude={"expect"}) for claim in claims]
    assert stated
    assert len(stated) == len(set(stated))
    own = [
        claim.statement for claim in claims if claim.source != "paper"
    ]  # one sentence of a paper: several selections
    assert len(own) == len(set(own))
    paper = paper_of(job.config.reproduces)
    if paper is not None and paper.claims:  # what its sentences are stands in its table
        ours = [claim.statement for claim in claims if claim.source == "ours"]
        assert not [text for text in ours if re.match("(Figure|Section|Theorem|Definition) [0-9]|Not in", text)]


def test_a_quick_form_inherits_the_claims_of_its_paper_form():
    paper, quick = (
        parse_claims(compose_jobs([f"+experiment={name}"], multirun=False)[0].config.claims)
        for name in ("mnist_resnet20", "mnist_resnet20_quick")
    )
    for name, claim in paper.items():
        assert quick[name] == claim.model_copy(update={"expect": quick[name].expect})
    assert [name for name, claim in paper.items() if (claim.expect, quick[name].expect) == (None, "fails")]
    (job,) = compose_jobs(["+experiment=sukenik24/fig3_width_quick"], multirun=False)
    removed = {name for name, claim in job.values["claims"].items() if claim is None}
    assert removed
    assert not removed & set(parse_claims(job.config.claims))


def test_a_number_of_a_claim_changes_on_the_command_line():
    (job,) = compose_jobs(["+experiment=dufm_k10", "claims.best_reaches_srg.tolerance=0.03"], multirun=False)
    assert parse_claims(job.config.claims)["best_reaches_srg"].tolerance == 0.03


def test_a_finished_run_gets_the_present_claims(tmp_path):
    path = tmp_path / "config.yaml"
    update_claims(tmp_path, {"claims": {"below_dnc": SHARE}})
    assert not path.exists()  # nothing recorded, nothing to change
    path.write_text("name: mine\nclaims: {}\nseed: 3\n")
    update_claims(tmp_path, {"claims": {"below_dnc": SHARE}, "reproduces": {"paper": "x"}})
    assert read_yaml(path) == {
        "name": "mine",
        "claims": {"below_dnc": SHARE},
        "seed": 3,
        "reproduces": {"paper": "x"},
    }
    before = path.stat().st_mtime_ns
    assert update_claims(tmp_path, {"claims": {"below_dnc": SHARE}, "reproduces": {"paper": "x"}}) == []
    assert path.stat().st_mtime_ns == before
    third = {"below_dnc": SHARE | {"at_least": 0.3}, "mine": SHARE}
    assert update_claims(tmp_path, {"claims": third}) == ["below_dnc", "mine"]
    assert update_claims(tmp_path, {"claims": None}) == ["below_dnc", "mine"]
    assert update_claims(tmp_path, {"reproduces": None}) == []  # no claim has changed


def test_the_schema_needs_nothing_heavy():
    heavy = "('torch', 'numpy', 'pandas', 'hydra', 'omegaconf')"
    code = f"import sys, ncbench.claims.papers, ncbench.claims.parse; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
