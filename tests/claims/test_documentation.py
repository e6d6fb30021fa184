"""What docs/claims.md shows is what the package takes: paper, experiment and quick form compose, run and are judged."""

import re
from pathlib import Path

import pytest
import yaml

from ncbench.claims.claim import SOURCES
from ncbench.claims.paper_claims import KINDS, PaperClaim
from ncbench.claims.papers import read_papers
from ncbench.claims.parse import parse_claims
from ncbench.claims.selection import Selection
from ncbench.claims.types import CHECKS
from ncbench.report.statistics import wilson
from ncbench.report.verdicts.judge import judge
from ncbench.report.verdicts.settle import FAILS, HOLDS, UNDECIDED, VERDICTS
from ncbench.run.compose import compose_jobs
from ncbench.train import main as train

PAGE = Path(__file__).resolve().parents[2].joinpath("docs", "claims.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PLACE = re.compile(r"^# MINE/(\S+\.yaml)$", re.MULTILINE)


@pytest.fixture
def mine(tmp_path):
    """The folder of configuration that the page shows."""
    for block in BLOCKS:
        found = PLACE.search(block)
        if found:
            path = tmp_path / "mine" / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
    return tmp_path / "mine"


def test_every_claim_of_the_page_is_one():
    shown = [yaml.safe_load(block)["claims"] for block in BLOCKS if block.startswith("claims:")]
    assert [list(parse_claims(claims)) for claims in shown] == [["collapsed_runs_have_lower_loss"]]


def test_every_word_is_on_the_page():
    words = (*CHECKS, *Selection.model_fields, *SOURCES, *KINDS, HOLDS, FAILS, UNDECIDED)
    for word in (*words, "min_replicas", "expect", "paper_claim", "standard", "kind", "departs", "decided_by", "open"):
        assert f"`{word}`" in PAGE or f"`{word}:" in PAGE, word
    for verdict in VERDICTS:
        assert f"\n| {verdict} |" in PAGE, verdict


def test_the_table_of_kinds_is_that_of_the_package():
    section = PAGE.partition("## One sentence, one standard")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")][1:]
    shown = {kind: re.findall(r"`(\w+)`", cells[3]) for cells in rows for kind in re.findall(r"`(\w+)`", cells[1])}
    assert {kind: set(checks) for kind, checks in shown.items()} == {kind: set(KINDS[kind]) for kind in KINDS}


def test_the_paper_of_the_page_is_one_and_shows_every_key(mine):
    paper = read_papers([mine])["doe27"]
    assert list(paper.figures) == ["1", "2 left"]
    assert list(paper.claims) == ["below_dnc", "low_rank", "many_classes"]
    assert set().union(*(claim.model_fields_set for claim in paper.claims.values())) == set(PaperClaim.model_fields)


def test_the_quick_form_of_the_page_changes_what_it_says(mine):
    command = {"multirun": False, "config_dirs": [str(mine)]}
    (wide,), (quick,) = (compose_jobs([f"+experiment=doe27/{name}"], **command) for name in ("fig1", "fig1_quick"))
    paper, own = (parse_claims(job.config.claims) for job in (wide, quick))
    assert list(own) == ["below_dnc", "best_below_dnc"]
    assert own["below_dnc"] == paper["below_dnc"].model_copy(update={"expect": None})
    assert (paper["best_below_dnc"].at_most, own["best_below_dnc"].at_most) == (0.95, 1.0)
    assert {key for key, values in quick.config.open.items() if values is not None} == {"dataset.per_class"}
    with pytest.raises(ValueError, match=r"claims\.below_dnc\.at_least=0\.5: the standard of below_dnc is 0\.6"):
        compose_jobs(["+experiment=doe27/fig1", "+claims.below_dnc.at_least=0.5"], **command)


def test_the_whole_experiment_of_the_page_runs_and_is_judged(mine, tmp_path):
    """With fewer steps and seeds than the page has: what is tested is the form."""
    command = ["--config-dir", str(mine), "+experiment=doe27/fig1", f"hydra.sweep.dir={tmp_path / 'runs'}"]
    assert train([*command, "schedule.steps=50", "replicate.seed=6", "measure.points=3", "trainer.progress=false"]) == 0
    (judgement,) = judge(tmp_path / "runs")
    verdicts = {verdict.name: verdict for verdict in judgement.verdicts}
    sizes = {name: verdict.sample_size for name, verdict in verdicts.items()}
    assert sizes == {"below_dnc": 12, "low_rank_when_wide": 6, "best_below_dnc": 12}
    assert {name: verdict.claim.source for name, verdict in verdicts.items()} == {
        "below_dnc": "paper",
        "low_rank_when_wide": "paper",
        "best_below_dnc": "ours",
    }
    assert verdicts["below_dnc"].verdict in ("reproduced at other settings", "undecided")  # it departs from the paper


def test_the_table_of_seeds_is_wilsons():
    section = PAGE.partition("| `at_least` | none fails |")[2].partition("\n\n")[0]
    rows = [[float(cell) for cell in line.strip("| ").split("|")] for line in section.splitlines()[2:]]
    assert len(rows) == 7
    for at_least, *numbers in rows:
        for failing, number in enumerate(map(int, numbers)):
            assert wilson(number - failing, number)[0] >= at_least > wilson(number - 1 - failing, number - 1)[0]


def test_inherited_claims_are_dropped_as_the_page_says(mine):
    (job,) = compose_jobs(["+experiment=mine"], multirun=False, config_dirs=[str(mine)])
    assert list(parse_claims(job.config.claims)) == ["mine_loss"]
