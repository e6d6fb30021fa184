import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ncbench.records import load
from ncbench.records.load import load_final
from ncbench.records.parts import last_step, part_path, parts
from ncbench.records.settings import find_settings
from ncbench.records.small_files import BadRecordsError
from ncbench.report import (
    find_runs,
    load_grams,
    load_measures,
    load_references,
    load_replicas,
    load_run_info,
    load_spectra,
)
from tests.helpers.run_folders import K, loss_of, write_records, write_run

# As the contract with users says, not as the schema does.
COLUMNS = ["run", "replica", "seed", "step", "epoch", "split", "layer", "stage", "source_layer", "measure", "value"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"))


def test_measures_have_the_columns_of_the_contract_and_text_as_categories(records):
    frame = load_measures(records / "eight")
    assert list(frame.columns) == COLUMNS
    for name in ("run", "split", "layer", "stage", "source_layer", "measure"):
        assert isinstance(frame[name].dtype, pd.CategoricalDtype), name
    assert frame["value"].dtype == np.float64
    assert frame["replica"].dtype == np.int32
    assert list(frame["run"].cat.categories) == ["eight"]
    assert list(frame["layer"].cat.categories) == ["", "features", "head.1", "head.2", "head.3"]
    # 5 steps x 8 replicas x (5 of the whole network + 6 places x 7 measures + 3 weights x 5 measures)
    assert len(frame) == 5 * 8 * (5 + 6 * 7 + 3 * 5)


def test_filters_keep_what_they_name(records):
    loss = load_measures(records / "eight", measures="loss", layers=[""], steps=[0, 1000])
    assert set(loss["measure"]) == {"loss"}
    assert sorted(loss["step"].unique()) == [0, 1000]
    expected = [loss_of(replica, step) for replica, step in zip(loss["replica"], loss["step"], strict=True)]
    assert loss["value"].tolist() == expected
    assert len(load_measures(records / "eight", measures=["dnc1", "tcv"], layers="head.1", steps=10)) == 2 * 2 * 8
    assert load.load_measures(records / "eight", measures=["no such measure"]).empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measures": "rnak"}, "measures=rnak: no run here has recorded it (did you mean rank?)"),
        ({"measures": iter(["loss", "los"])}, "measures=los: no run here has recorded it (did you mean loss?)"),
        (
            {"measures": ["rank"], "layers": ["haed.1"]},
            "layers=haed.1: no run here has recorded it (did you mean head.",
        ),
        ({"layers": ["zzz"]}, "layers=zzz: no run here has recorded it (known: "),
    ],
)
def test_a_name_that_no_run_has_recorded_is_refused(records, arguments, message):
    with pytest.raises(BadRecordsError) as refused:
        load_measures(records, **arguments)
    assert str(refused.value).startswith(message)


def test_a_name_that_some_run_has_recorded_somewhere_is_no_mistake(records, tmp_path):
    assert load_measures(records / "eight", measures=["loss"], layers="head.1").empty  # each is there, both are not
    run = write_run(tmp_path / "new", [0], finished=False)
    for part in parts(run, "measures"):
        part.unlink()
    assert load_measures(tmp_path, measures=["loss"]).empty  # nothing is recorded yet
    final = load_final(records / "eight")
    kept = load_final(records / "eight", measures="rank", layers=["head.1"])
    assert len(kept) == ((final["measure"] == "rank") & (final["layer"] == "head.1")).sum() == 3 * 8


def test_first_step_and_some_singular_values(records):
    assert set(load_measures(records, measures=["loss"], steps="first")["step"]) == {0}
    assert set(load_spectra(records / "one", steps="last", indices=[0, 2])["index"]) == {0, 2}


def test_last_step_is_each_runs_own(records):
    frame = load_measures(records, measures=["loss"], steps="last")
    last = frame.groupby("run", observed=True)["step"].unique()
    assert {run: list(steps) for run, steps in last.items()} == {
        run: [1] if run == "unfinished" else [1000] for run in frame["run"].cat.categories
    }


def test_ends_of_a_part_that_holds_several_steps(tmp_path):
    """As runs write them when they merge parts."""
    run = write_run(tmp_path / "run", [0])
    files = parts(run, "measures")
    whole = pa.concat_tables([pq.read_table(file) for file in reversed(files)])
    for file in files:
        file.unlink()
    pq.write_table(whole, part_path(run, "measures", 0, 1000))
    assert set(load_measures(run, steps="first")["step"]) == {0}
    assert set(load_measures(run, steps="last")["step"]) == {1000}


@pytest.mark.parametrize("steps", ["end", "0", ["last"], [0, "first"], 0.5, [0, 0.5], [[0], [1, 2]], float("nan")])
def test_steps_that_are_none_are_refused_also_where_nothing_is_recorded(records, tmp_path, steps):
    (tmp_path / "run.json").write_text("{}")
    message = re.escape(f"steps={steps!r} must be a step, several steps, 'first' or 'last'")
    for runs in (records, tmp_path):
        with pytest.raises(ValueError, match=message):
            load_measures(runs, steps=steps)


@pytest.mark.parametrize("steps", [(0, 1), iter([0, 1]), np.array([0, 1]), {0, 1}, range(2), [0.0, np.int64(1)]])
def test_several_steps_in_any_form_are_those_of_every_run(records, steps):
    """An iterator is used up by what reads it first."""
    frame = load_measures(records, measures="loss", steps=steps)
    assert {tuple(sorted(set(rows))) for _, rows in frame.groupby("run", observed=True)["step"]} == {(0, 1)}
    assert frame["run"].nunique() == 7


def test_final_value_of_a_series_that_is_recorded_less_often(tmp_path):
    run = write_run(tmp_path / "run", [0])
    for part in parts(run, "measures"):
        if last_step(part) > 10:
            table = pq.read_table(part)
            pq.write_table(table.filter(pc.field("measure") != "norm"), part)
    final = load_final(run)
    assert set(final[final["measure"] == "norm"]["step"]) == {10}
    assert set(final[final["measure"] != "norm"]["step"]) == {1000}


def test_several_runs_in_natural_order_named_by_their_path(tmp_path, records):
    for name in ("10", "9", "a/b"):
        write_run(tmp_path / name, [0], finished=False)
    assert [run.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)] == ["9", "10", "a/b"]
    assert list(load_run_info(tmp_path)) == ["9", "10", "a/b"]
    assert list(load_replicas(tmp_path)["run"]) == ["9", "10", "a/b"]
    assert list(load_replicas(tmp_path / "9")["run"]) == ["9"]
    both = load_replicas([records / "one", records / "sweep" / "2"])
    assert both["run"].tolist() == ["one"] + ["sweep/2"] * 3
    assert len(find_runs(records)) == 7


def test_links_to_runs_that_lie_elsewhere_are_runs_by_the_names_of_the_links(tmp_path):
    for name in ("x", "y"):
        write_run(tmp_path / "scratch" / name, [0], finished=False)
    here = tmp_path / "here"
    here.mkdir()
    (here / "first").symlink_to(tmp_path / "scratch" / "x")
    (here / "all").symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch" / "circle").symlink_to(tmp_path / "scratch")
    assert list(load_run_info(here)) == ["all/x", "all/y"]  # each once
    (here / "all").unlink()
    assert list(load_run_info(here)) == ["first"]
    assert set(load_measures(here, steps="last")["run"]) == {"first"}


def test_a_directory_inside_another_is_read_once(records):
    infos = load_run_info([records / "sweep", records / "sweep" / "1"])
    assert list(infos) == ["0", "1", "2", "3"]


def test_dot_files_and_dot_folders_are_ignored(tmp_path):
    run = write_run(tmp_path / "run", [0])
    whole = len(load_measures(run))
    (run / "measures" / ".part-000000002000.parquet").write_bytes(b"half a file")
    (run / "measures" / ".part-000000002000.parquet.tmp").write_bytes(b"half a file")
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "run.json").write_text("{}")
    assert len(load_measures(tmp_path)) == whole
    assert len(find_runs(tmp_path)) == 1


def test_a_run_without_records_gives_empty_tables_with_all_columns(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"status": "planned", "replicas": 2}))
    assert list(load_measures(tmp_path).columns) == COLUMNS
    assert load_final(tmp_path).empty
    assert list(load_spectra(tmp_path, steps="last").columns)[-2:] == ["index", "singular_value"]
    assert load_grams(tmp_path).empty
    assert load_replicas(tmp_path).empty
    assert load_references(tmp_path).empty
    assert [[network.replica for network in setting.networks] for setting in find_settings(tmp_path)] == [[0, 1]]


def test_spectra_and_grams(records):
    spectra = load_spectra(records / "eight", steps="last")
    assert list(spectra.columns) == ["run", "replica", "step", "layer", "stage", "index", "singular_value"]
    one = spectra[(spectra["replica"] == 2) & (spectra["layer"] == "head.1") & (spectra["stage"] == "weight")]
    assert one["singular_value"].tolist() == [2.0, 1.02, 1.0, 1e-5]
    grams = load_grams(records / "eight")
    assert list(grams.columns) == ["run", "replica", "step", "layer", "stage", "size", "gram"]
    first = grams[(grams["layer"] == "features") & (grams["replica"] == 1)]["gram"].iloc[0]
    np.testing.assert_allclose(first, 5.0 * (0.5 * np.eye(K) + 0.5))


def test_replicas_and_references(records):
    replicas = load_replicas(records / "sweep")
    assert list(replicas.columns) == ["run", "replica", "seed", "weight_decay", "depth"]
    assert replicas["weight_decay"].tolist() == [1e-3] * 6 + [5e-2] * 6
    references = load_references(records / "sweep")
    assert references[references["name"] == "dnc"]["value"].tolist() == pytest.approx([0.12, 0.24, 0.36, 0.48])
    nothing = references[references["name"] == "ntz"].iloc[0]
    assert np.isnan(nothing["value"])
    assert nothing["why"] == "K = 4 is no triangular number"
    assert references["replicas"].tolist() == [None] * 12
    assert set(references["measure"]) == {"loss"}


def test_settings_divide_a_run_by_its_replicated_values_and_not_by_seed(tmp_path):
    run = write_run(tmp_path / "run", [0, 1, 2, 3])
    replicas = [{"replica": i, "seed": i, "weight_decay": 10.0 ** -(i // 2)} for i in range(4)]
    (run / "replicas.json").write_text(json.dumps(replicas))
    settings = find_settings(run)
    assert [([network.replica for network in setting.networks], setting.label) for setting in settings] == [
        ([2, 3], "weight_decay=0.1"),  # settings come in the order of their values
        ([0, 1], "weight_decay=1"),
    ]


@pytest.mark.parametrize("loader", [load_measures, load_spectra, load_replicas, load_references, find_runs])
def test_a_directory_without_runs_is_one_clear_line(tmp_path, loader):
    with pytest.raises(ValueError, match=r"dir='.*' holds no run; a run is a folder with run.json in it"):
        loader(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"dir='.*nowhere' does not exist or is no directory"):
        loader(tmp_path / "nowhere")


def test_damaged_files_are_named(tmp_path):
    run = write_run(tmp_path / "run", [0])
    part_path(run, "measures", 1000).write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"part-000000001000\.parquet: is not readable as records \("):
        load_measures(run)
    (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is not valid JSON"):
        load_run_info(run)
    (run / "replicas.json").write_text("{}")
    with pytest.raises(ValueError, match=r"replicas\.json must hold a list of JSON objects"):
        load_replicas(run)


def test_parts_may_encode_text_differently(tmp_path):
    run = write_run(tmp_path / "run", [0])
    part = part_path(run, "measures", 1000)
    table = pq.read_table(part)
    plain = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    pq.write_table(table.cast(pa.schema(plain)), part)
    frame = load_measures(run, measures=["loss"])
    assert frame["value"].tolist() == [loss_of(0, step) for step in (0, 1, 10, 100, 1000)]


def test_reading_and_drawing_never_import_torch(records):
    code = (
        "import sys, ncbench.report as r\n"
        "assert 'pandas' not in sys.modules and 'matplotlib' not in sys.modules, 'import has to be quick'\n"
        f"r.load_measures({str(records / 'one')!r}, measures=['loss'])\n"
        "import ncbench.report.pages.report, ncbench.report.__main__\n"
        "r.figure.loss\n"
        "bad = {'torch', 'hydra', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
