"""The words for layers: one meaning in claims, in figures and in what is measured."""

import pytest

from ncbench.claims import rules
from ncbench.claims.selection import Selection
from ncbench.records import layers
from ncbench.records.layers import (
    COUNTED_WORDS,
    LAYER_WORDS,
    last_hidden_layer,
    layer_key,
    layers_between,
    measured_by_default,
    rows_of_split,
    stage_key,
)
from ncbench.records.load import load_final
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.selectors import mean_over_layers
from ncbench.report.verdicts.layers import in_layers
from tests.helpers.run_folders import write_values

DEPTH = 4
RANKS = {f"head.{l}.pre.rank": [2.0**l] for l in range(1, DEPTH + 1)} | {"features.pre.rank": [100.0]}


def test_the_words_of_claims_are_those_of_the_records():
    assert rules.LAYER_WORDS is LAYER_WORDS
    assert LAYER_WORDS == ("intermediate", "inner", "head", "all")
    assert COUNTED_WORDS == ("intermediate", "inner")


@pytest.mark.parametrize("word", COUNTED_WORDS)
def test_a_claim_and_a_figure_mean_the_same_layers(tmp_path, word):
    expected = {"intermediate": (2 + 4 + 8) / 3, "inner": (4 + 8) / 2}[word]
    run = write_values(tmp_path / "run", RANKS, {}, depth=DEPTH)
    frame = with_setting(load_final(run), find_settings(run))
    selection = Selection(measure="rank", layers=(word,), stage="pre", reduce_layers="mean")
    chosen = in_layers(frame, selection, {"run": run}, "rank")
    assert sorted(chosen["layer"]) == layers_between(word, DEPTH)
    assert chosen["value"].mean() == pytest.approx(expected)
    assert mean_over_layers(frame, "rank", "pre", word)["value"].tolist() == pytest.approx([expected])


def test_a_head_without_such_layers():
    assert layers_between("intermediate", 1) == layers_between("inner", 2) == []
    assert (last_hidden_layer(1), last_hidden_layer(2)) == ("features", "head.1")
    assert measured_by_default(1) == ["features", "head.1"]


def test_order_from_input_to_output(mutant):
    names = ["head.10", "stem", "head.2", "", "block", "features"]
    ordered = sorted(names, key=lambda name: layer_key(name, names.index(name)))
    assert ordered == ["", "features", "stem", "block", "head.2", "head.10"]
    as_text = mutant(layers, "return (2, 0, natural_key(layer)) if layer", "return (2, 0, [(1, 0, layer)]) if layer")
    assert sorted(names, key=as_text.layer_key)[-1] == "head.2"
    assert sorted(["weight", "mine", "post", "", "pre"], key=stage_key) == ["", "pre", "post", "weight", "mine"]


def test_weights_belong_to_every_split():
    assert (rows_of_split(), rows_of_split("test")) == (["train", ""], ["test", ""])
