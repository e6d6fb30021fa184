"""A claim about what a run will not record is refused before training; one that may be recorded never is."""

import re

import pytest

from ncbench import train
from ncbench.measure import names
from ncbench.run import measured
from ncbench.run.claimed import check_claimed
from ncbench.run.compose import compose_command, compose_jobs
from ncbench.training import ensemble_measures

HEAD = "features, head.1, head.2, head.3, head.4 are"
DUFM = "+experiment=dufm_k10"
MINE = "+claims.mine={check: share_below, source: ours, statement: x, at_least: 0.5, below: 1, %s}"
NETWORK = ["model=network", "trainer.max_epochs=1", "model._target_=mine.net", "claims=null", "references=[]"]


def test_names_are_those_of_the_measures():
    assert set(measured.ON_REQUEST) == set(names.KNOWN)
    assert {word: tuple(of) for word, of in names.SETS.items()} == measured.WORDS
    assert set(measured.ALWAYS) == {*names.ALWAYS, "sigma"}
    assert set(ensemble_measures.OF_PAIRS) <= set(measured.OF_PERCEPTRON_LAYERS)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            [MINE % "measure: rank, layers: [layer3], stage: pre"],
            "claims.mine.layers=[layer3]: layer3 is not measured (did you mean head.3?); " + HEAD,
        ),
        (
            [MINE % "measure: rank, layers: [head.5], stage: pre"],
            "claims.mine.layers=[head.5]: head.5 is not measured (did you mean head.4?); " + HEAD,
        ),
        (
            [MINE % "measure: rank, layers: ['h.*'], stage: pre, reduce_layers: max"],
            "claims.mine.layers=[h.*]: h.* is not measured; " + HEAD,
        ),
        (
            [MINE % "measure: rank, layers: [head.4], stage: pre", "measure.layers=[features,head.3]"],
            "claims.mine.layers=[head.4]: head.4 is not measured (did you mean head.3?); features, head.3 are",
        ),
        (
            [MINE % "measure: nc1, layers: [head.3], stage: post"],
            "claims.mine.measure=nc1: is recorded on request only; measure.measures=[nc1] asks for it",
        ),
        (
            [MINE % "measure: nc1_rank, layers: [head.3], stage: post", "measure.measures=[cdnv]"],
            "claims.mine.measure=nc1_rank: is recorded on request only; measure.measures=[cdnv,nc1] asks for it",
        ),
        (
            [MINE % "measure: equinorm, layers: [head.3], stage: post", "measure.measures=nc3"],
            "claims.mine.measure=equinorm: is recorded on request only; measure.measures=[nc3,equinorm] asks for it",
        ),
        (
            [MINE % "measure: hessian_nullity"],
            "claims.mine.measure=hessian_nullity: needs model=dufm and measure.hessian=true",
        ),
        (
            [MINE % "measure: tightness, layers: [head.3], stage: weight"],
            "claims.mine.measure=tightness: is recorded of model=perceptron only",
        ),
        ([MINE % "measure: rank"], "claims.mine.measure=rank: is a measure of layers; add layers and stage"),
        (
            [MINE % "measure: loss, layers: [head.3], stage: post"],
            "claims.mine.measure=loss: is of the whole network; leave out layers",
        ),
        (
            [MINE % "measure: rank, layers: [head.4], stage: post"],
            "claims.mine.stage=post: head.4 has pre, weight",
        ),
        (
            [MINE % "measure: norm, layers: [head.3], stage: post"],
            "claims.mine.stage=post: norm is measured at weight",
        ),
        ([MINE % "split: test"], "claims.mine.split=test: this run measures train (measure.splits)"),
        (
            [MINE % "given: {measure: rank, layers: [layer3], stage: pre, below: 6}"],
            "claims.mine.given.layers=[layer3]: layer3 is not measured (did you mean head.3?); " + HEAD,
        ),
        (
            ["claims.srg_ratio_first_matrix.layers=[layer3]"],
            "claims.srg_ratio_first_matrix.layers=[layer3]: layer3 is not measured (did you mean head.3?); " + HEAD,
        ),
        (
            [MINE % "measure: rank, layers: [intermediate, layer3], stage: pre, reduce_layers: max"],
            "claims.mine.layers=[intermediate, layer3]: layer3 is not measured (did you mean head.3?); " + HEAD,
        ),
        (
            [MINE % "relative_to: srgg"],
            "claims.mine.relative_to=srgg: there is no theory line srgg; references has dnc, srg",
        ),
        (
            [MINE % "measure: 'line:pairs'", "references=[]"],
            "claims.mine.measure=line:pairs: there is no theory line pairs; references is empty",
        ),
        (
            ["+claims.mine={check: share_below, source: ours, statement: x, at_least: 0.5, reference: ntz}"],
            "claims.mine.reference=ntz: there is no theory line ntz; references has dnc, srg",
        ),
    ],
)
def test_what_is_not_recorded_is_refused(overrides, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        compose_command([DUFM, *overrides], multirun=False)


@pytest.mark.parametrize("name", ["rnk", "dnc11"])
def test_a_misspelt_measure_has_a_near_name(name):
    near = {"rnk": "rank", "dnc11": "dnc1"}[name]
    with pytest.raises(ValueError, match=rf"mine.measure={name}: no such measure \(did you mean {near}\?\); this"):
        compose_command([DUFM, MINE % f"measure: {name}, layers: [head.3], stage: post"], multirun=False)


@pytest.mark.parametrize(
    "overrides",
    [
        [DUFM, "model.depth=2"],  # claims of this package at other settings: their report says what cannot be judged
        [DUFM, "measure.layers=[features]"],
        [DUFM, MINE % "measure: nc1, layers: [head.3], stage: post", "measure.measures=nc"],
        [DUFM, MINE % "measure: soft, layers: [head.3], stage: post", "+measure.moments.soft={_target_: mine.soft}"],
        [DUFM, MINE % "measure: 'line:dnc'"],
        [DUFM, MINE % "measure: sigma, index: 2, layers: [head.3], stage: weight"],
        [DUFM, MINE % "measure: rank, layers: inner, stage: pre, reduce_layers: max", "model.depth=2"],
        [DUFM, MINE % "measure: rank, layers: [head.7], stage: pre, where: {depth: 7}"],  # of a sweep of jobs
        ["+experiment=digits_mlp", MINE % "measure: rank, layers: [layer3], stage: pre", "measure.layers=['**']"],
        [*NETWORK, MINE % "measure: rank, layers: [layer3], stage: post"],
        [*NETWORK, MINE % "measure: rank, layers: ['layer3.1@2'], stage: post", "measure.layers=['layer3.*']"],
    ],
)
def test_what_may_be_recorded_is_let_through(overrides):
    compose_command(overrides, multirun=False)


def test_layers_of_a_network_of_ones_own_that_are_named():
    overrides = [*NETWORK, "measure.layers=[layer1,fc.input,fc]", "measure.measures=nc"]
    compose_command([*overrides, MINE % "measure: rank, layers: [fc.input], stage: post"], multirun=False)
    line = r"layers=\[layer2\]: layer2 is not measured \(did you mean layer1\?\); layer1, fc.input, fc are$"
    with pytest.raises(ValueError, match=line):
        compose_command([*overrides, MINE % "measure: rank, layers: [layer2], stage: post"], multirun=False)


def test_one_job_of_a_grid_that_records_it_is_enough():
    claim = MINE % "measure: rank, layers: [head.5], stage: pre"
    assert len(compose_command([DUFM, claim, "model.depth=4,5"], multirun=True).jobs) == 2
    with pytest.raises(ValueError, match=r"claims.mine.layers=\[head.5\]"):
        compose_command([DUFM, claim, "model.depth=3,4"], multirun=True)
    (shallow,) = compose_jobs([DUFM, claim], multirun=False)
    (deep,) = compose_jobs([DUFM, claim, "model.depth=5"], multirun=False)
    check_claimed([shallow.config, deep.config])


def test_exit_status_2_and_one_line_before_anything_is_made(tmp_path, capsys):
    folder = tmp_path / "run"
    assert train.main([DUFM, MINE % "measure: nc1, layers: [head.3], stage: post", f"hydra.run.dir={folder}"]) == 2
    rule = "is recorded on request only; measure.measures=[nc1] asks for it"
    assert capsys.readouterr().err == f"ncbench: claims.mine.measure=nc1: {rule}\n"
    assert not folder.exists()
