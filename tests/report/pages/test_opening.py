"""What a page says first, and what it explains: the sentence, the configuration, the glossary, nothing to collapse."""

import re
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from ncbench.records import load
from ncbench.records.runs import NoRecordsError
from ncbench.report.figures.style import Plot
from ncbench.report.pages import catalogue, opening
from ncbench.report.pages.glossary import GLOSSARY, anchor, terms
from ncbench.report.pages.headline import Table, headline, layer_tables
from tests.helpers.run_folders import write_run, write_values

CHOSEN = {
    "dataset": {"kind": "labels", "_target_": "ncbench.data.BalancedLabels", "classes": 4, "per_class": 5},
    "model": {"kind": "free_features", "_target_": "ncbench.models.replica.DUFM", "depth": 3, "width": 20},
    "objective": {"loss": "mse", "weight_decay": 0.002, "feature_decay": 0.001},
    "optimizer": {"kind": "sgd", "_target_": "torch.optim.SGD", "lr": 0.5, "momentum": 0.9},
    "schedule": {"kind": "full_batch", "steps": 1000},
    "trainer": {"precision": "32", "max_epochs": None},
}


def configured(run, **changed):
    write_run(run, [0, 1])
    (run / "config.yaml").write_text(yaml.safe_dump({"name": "dufm_k4", **CHOSEN, **changed}))
    return run


def test_the_configuration_that_matters(tmp_path):
    shown = dict(opening.configuration(configured(tmp_path / "run")))
    assert shown == {
        "data": "BalancedLabels",
        "classes": "4",
        "samples per class": "5",
        "network": "DUFM",
        "depth": "3",
        "width": "20",
        "loss": "mse",
        "weight decay": "0.002",
        "feature decay": "0.001",
        "optimiser": "SGD",
        "rate": "0.5",
        "momentum": "0.9",
        "batch": "all samples",
        "schedule": "full_batch",
        "steps": "1000",
        "precision": "32",
    }


def test_values_that_differ_are_all_named(tmp_path):
    for width in (20, 30):
        configured(tmp_path / str(width), model={**CHOSEN["model"], "width": width}, replicate={"decay": [0.1, 0.2]})
    shown = dict(opening.configuration(tmp_path))
    assert (shown["width"], shown["depth"]) == ("20, 30", "3")
    assert (shown["weight decay"], shown["feature decay"]) == ("0.1, 0.2", "0.1, 0.2")  # not that of the objective


def test_the_sentence_says_what_was_run_and_what_came_out(tmp_path):
    run = configured(tmp_path / "run")
    loss = dict(zip(headline(run).header, headline(run).rows[0], strict=True))["final loss"]
    said = opening.sentence(run, headline(run), [])
    assert said.startswith(
        f"2 networks (DUFM, depth 3, width 20) on BalancedLabels, trained with mse for 1000 steps: final loss {loss}; "
    )
    assert "; 2 of 2 below DNC; " in said
    (run / "config.yaml").unlink()
    assert opening.sentence(run, headline(run), []).startswith(f"2 networks: final loss {loss}; ")


def test_the_sentence_without_a_loss(tmp_path):
    """As of a callback's folder, which has what was measured alone; and with nothing at all."""
    run = configured(tmp_path / "run")
    for header, end in ((["", "accuracy"], "for 1000 steps: accuracy 0.95."), (["", "step"], "for 1000 steps.")):
        assert opening.sentence(run, Table(header, [["run", "0.95"]]), []).endswith(end)


def test_a_term_is_explained_at_its_first_place_and_text_stays_text():
    assert set(GLOSSARY) >= {"DNC", "SRG", "TCV", "replica", "stage", "pre", "post", "terminal phase"}
    shown = str(terms("<b>DNC</b> & dnc: Gram matrices of replicas, DNC1"))
    assert re.sub(r"<a [^>]*>|</a>", "", shown) == "&lt;b&gt;DNC&lt;/b&gt; &amp; dnc: Gram matrices of replicas, DNC1"
    assert re.findall(r'href="#([^"]+)"', shown) == ["word-dnc", "word-gram-matrix", "word-replica", "word-dnc1"]
    of_page = str(terms("The terminal phase; pre-activation"))
    assert 'href="#word-terminal-phase"' in of_page
    assert 'href="#word-pre"' in of_page
    assert {anchor(word) for word in GLOSSARY} >= set(re.findall(r'href="#([^"]+)"', shown))


def test_nothing_to_collapse_is_said_and_not_drawn(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", [0])
    real, asked = load.load_measures, []
    monkeypatch.setattr(catalogue, "CATALOGUE", [each for each in catalogue.CATALOGUE if each.name == "collapse"])
    monkeypatch.setattr(catalogue, "collapse", lambda dir: Plot())
    monkeypatch.setattr(catalogue, "measures", lambda dir, names: asked.append(names) or Plot())
    monkeypatch.setattr(catalogue, "gram_frames", lambda dir: [])
    assert catalogue.draw_all(run, tmp_path)[0].missing == ""

    def one_sample_per_class(*arguments, **keys):
        frame = real(*arguments, **keys)
        frame.loc[frame["measure"].isin(catalogue.COLLAPSE), "value"] = 0.0
        return frame

    for module in (catalogue, load):
        monkeypatch.setattr(module, "load_measures", one_sample_per_class)
    shown = catalogue.draw_all(run, tmp_path)[0]
    assert shown.missing.startswith(
        "there is nothing to collapse; the variation within the classes is 0 from the first"
    )
    assert not (tmp_path / "figures" / "collapse.png").exists()
    assert asked[0] == asked[1]  # nor are they drawn as further measures
    assert set(catalogue.COLLAPSE).isdisjoint(asked[1])


@pytest.mark.parametrize("with_test", [False, True])
def test_the_test_split_stands_below_the_training_split(tmp_path, monkeypatch, with_test):
    run = write_run(tmp_path / "run", [0])
    train = load.load_final(run)
    rows = train[(train["measure"] == "dnc1") & (train["split"] == "train")]
    test = rows.assign(split=pd.Categorical(["test"] * len(rows)), value=7.0)
    both = pd.concat([train.astype({"split": str}), test.astype({"split": str})]) if with_test else train
    kept = {name: train[name].dtype for name in ("layer", "stage", "measure")}
    both = both.astype({**kept, "split": "category"})
    monkeypatch.setattr("ncbench.report.pages.headline.load_final", lambda dir: both)
    (table,) = layer_tables(run)
    assert ("split" in table.header) is with_test
    if with_test:
        of_layer = [row for row in table.rows if row[:2] == ["head.1", "pre"]]
        assert [row[2] for row in of_layer] == ["train", "test"]
        assert of_layer[1][table.header.index("DNC1")] == "7"


def test_what_a_run_of_ones_own_cannot_have_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    known = [figure for figure in catalogue.CATALOGUE if figure.name in ("loss", "collapse", "spectra")]
    monkeypatch.setattr(catalogue, "CATALOGUE", tuple(replace(figure, draw=nothing) for figure in known))
    monkeypatch.setattr(catalogue, "measures", nothing)
    missing = {}
    for status in ("running", "done"):
        write_values(tmp_path / status, {"head.1.post.dnc1": [0.5]}, {}, status=status)
        missing[status] = [each.figure.name for each in catalogue.draw_all(tmp_path / status, tmp_path / "out")]
    assert missing["running"] == ["collapse", "spectra", "measures"]  # no loss will come; spectra may
    assert missing["done"] == ["measures"]
    write_values(tmp_path / "planned", {}, {}, status="planned")
    found = [each.figure.name for each in catalogue.draw_all(tmp_path / "planned", tmp_path / "out")]
    assert sorted(found) == ["collapse", "loss", "spectra"]


def nothing(*_):
    raise NoRecordsError("nothing recorded yet")
