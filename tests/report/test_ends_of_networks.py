"""The end of every network: of one that diverged there is none, each has its own last step, and L is the head's."""

import json

import pytest
import yaml

from ncbench.records import settings as grouping
from ncbench.records.compaction import flush
from ncbench.records.load import load_final
from ncbench.records.schema import CONFIG, REPLICAS
from ncbench.records.settings import find_settings, with_setting
from ncbench.report import figure
from ncbench.report.pages.headline import headline
from ncbench.report.selectors import head_depths, intermediate_rank, last_dnc1, output_rows
from ncbench.report.settings import end_points, final_table, loss_over_dnc
from tests.helpers.run_folders import write_values
from tests.helpers.seed_sweeps import configuration

LOSSES = {10: [1.0, 2.0, 4.0], 1000: [0.5, 0.11, 0.7]}  # of which 0.11 is where the second stood before it diverged


@pytest.fixture
def diverged(tmp_path):
    states = {"diverged": [{"replica": 1, "step": 500}]}
    values = {"loss": LOSSES, **{f"head.{l}.pre.rank": {10: [9.0] * 3, 1000: [4.0, 9.0, 6.0]} for l in (1, 2, 3)}}
    return write_values(tmp_path / "run", values, {}, lines={"dnc": 0.1}, replica_states=states)


def test_a_network_that_diverged_has_no_end(diverged, mutant):
    (first, last) = (final_table(diverged)["measure"] == name for name in ("loss", "rank"))
    table = final_table(diverged)
    assert table[first][["median", "min", "max", "replicas"]].to_numpy().tolist() == [[0.6, 0.5, 0.7, 2]]
    assert set(table[last]["median"]) == {5.0}
    assert end_points(diverged)["loss"].dropna().tolist() == [0.5, 0.7]
    assert loss_over_dnc(diverged)["value"].dropna().tolist() == pytest.approx([5.0, 7.0])
    found = headline(diverged)
    (row,) = ([dict(zip(found.header, row, strict=True)) for row in found.rows],)
    assert row[0]["final loss"] == "0.6 [0.55, 0.65] (2 of 3, the others NaN)"
    assert row[0]["below DNC"] == "0 of 2"
    assert row[0]["lowest loss"] == "0.5"
    without = mutant(grouping, "if lost and columns", "if not lost and columns")
    kept = without.with_setting(load_final(diverged), without.find_settings(diverged))
    assert kept[kept["measure"] == "loss"]["value"].tolist() == LOSSES[1000]


def test_before_it_diverged_it_counts(diverged):
    (ax,) = figure.loss(diverged).axes
    (median,) = [line for line in ax.lines if line.get_label() == "loss, median"]
    assert median.get_ydata().tolist() == pytest.approx([2.0, 0.6])


def test_every_network_ends_at_its_own_step(tmp_path):
    """Three seeds that were stopped early, at 500, 700 and 900: losses 1, 2, 4 and ranks 4, 5, 9."""
    for seed, (step, loss, rank) in enumerate([(500, 1.0, 4.0), (700, 2.0, 5.0), (900, 4.0, 9.0)]):
        run = tmp_path / f"run{seed}"
        values = {"loss": {100: [9.0], step: [loss]}}
        for measure in ("rank", "effective_rank"):
            values |= {f"head.{l}.pre.{measure}": {100: [10.0], step: [rank]} for l in (1, 2, 3)}
        write_values(run, values, {}, seed=seed, replicas=1, status="done")
        (run / REPLICAS).write_text(json.dumps([{"replica": 0, "seed": seed}]))
        (run / CONFIG).write_text(yaml.safe_dump(configuration(seed), sort_keys=False))
        flush(run)
    table = final_table(tmp_path)
    columns = ["step", "median", "min", "max", "replicas"]
    assert table[table["measure"] == "loss"][columns].to_numpy().tolist() == [[900, 2.0, 1.0, 4.0, 3]]
    assert table[table["measure"] == "rank"][columns].to_numpy().tolist() == [[900, 5.0, 4.0, 9.0, 3]] * 3
    at_end = figure.rank(tmp_path).axes[2]
    (medians,) = [line for line in at_end.lines if line.get_label() == "pre"]
    assert medians.get_ydata().tolist() == [5.0] * 3
    (ax,) = figure.loss(tmp_path).axes
    ends = {line.get_label(): line.get_ydata()[-1] for line in ax.lines}
    assert (ends["best replica"], ends["worst replica"]) == (1.0, 4.0)


@pytest.mark.parametrize(("depth", "intermediate"), [(4, 3.0), (3, 3.0), (2, 2.0)])
def test_the_output_is_the_last_layer_and_not_the_last_that_is_recorded(tmp_path, depth, intermediate):
    """Ranks 2 and 4 of head.1 and head.2 alone: of L = 2 the second is the output's, of more layers it is not."""
    values = {f"head.{l}.pre.rank": [2.0**l] for l in (1, 2)} | {f"head.{l}.post.dnc1": [0.1 * l] for l in (1, 2)}
    run = write_values(tmp_path / "run", values, {}, depth=depth)
    frame = with_setting(load_final(run), find_settings(run))
    assert set(head_depths(frame)) == {depth}
    assert output_rows(frame, "rank")["value"].tolist() == ([4.0] if depth == 2 else [])
    assert intermediate_rank(frame)["value"].tolist() == [intermediate]
    assert last_dnc1(frame)["value"].tolist() == {4: [], 3: [0.2], 2: [0.1]}[depth]


def test_an_argument_depth_of_a_whole_network_is_not_that_of_a_head(tmp_path):
    values = {"fc.input.post.dnc1": [0.1], "fc.pre.dnc1": [0.2]}
    run = write_values(tmp_path / "run", values, {}, depth=28)
    config = yaml.safe_load((run / CONFIG).read_text())
    config["model"] |= {"kind": "network"}
    (run / CONFIG).write_text(yaml.safe_dump(config))
    flush(run)
    frame = with_setting(load_final(run), find_settings(run))
    assert head_depths(frame).isna().all()
    assert last_dnc1(frame)["layer"].tolist() == ["fc.input"]
