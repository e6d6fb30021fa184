"""Files of a run folder that somebody else has made: read within bounds, written whole and through no link."""

import os
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ncbench
from ncbench.records import part_sizes, small_files, whole_files
from ncbench.records.csv_text import csv_text
from ncbench.records.folder import RunFolder, read_config
from ncbench.records.load import load_measures
from ncbench.records.parts import part_path
from ncbench.records.schema import arrow_schema
from ncbench.records.small_files import BadRecordsError, read_json, read_yaml
from ncbench.sweep.compare import compare_tables
from tests.helpers.run_folders import measurement, record

LAUGHS = "a: &a [" + ", ".join(["lol"] * 9) + "]\n"
LAUGHS += "".join(f"{x}: &{x} [{', '.join([f'*{y}'] * 9)}]\n" for y, x in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (LAUGHS, "{path} has the alias *a in line 2; a record has no aliases"),
        ("x: &x {y: *x}\n", "{path} has the alias *x in line 1; a record has no aliases"),
        ("[" * 100_000, "{path} is nested more than 64 levels deep, which no record is"),
        ("{a: " * 70 + "1" + "}" * 70, "{path} is nested more than 64 levels deep, which no record is"),
        ("- " * 100 + "1", "{path} is nested more than 64 levels deep, which no record is"),
        ("\n".join(" " * n + "a:" for n in range(70)), "{path} is nested more than 64 levels deep, which no record is"),
        ("x: !!python/object/apply:os.system [true]", "{path} is not valid YAML (could not determine a constructor"),
        ("? [a]\n: 1", "{path} is not valid YAML ("),
        ("x: " + "9" * 5000, "{path} is not valid YAML (Exceeds the limit"),
        ("a: [", "{path} is not valid YAML ("),
        (b"\xff\xfe", "{path} is not UTF-8 text ("),
        ("x: " + "y" * 2**22, "{path} has more than 4 MB, which no such file needs"),
    ],
)
def test_yaml_is_refused_in_one_short_line(tmp_path, text, line):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (lambda: read_yaml(path), lambda: read_config(tmp_path)):
        with pytest.raises(BadRecordsError) as refused:
            read()
        said = str(refused.value)
        assert said.replace("is no configuration (", "is not valid YAML (").startswith(line.format(path=path))
        assert len(said) < 600
        assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * 100_000, "{path} is nested more than 64 levels deep, which no record is"),
        ('{"a":' * 70 + "1" + "}" * 70, "{path} is nested more than 64 levels deep, which no record is"),
        ("[" * 70 + "]" * 70, "{path} is nested more than 64 levels deep, which no record is"),
        ("9" * 5000, "{path} is not valid JSON (Exceeds the limit"),
        ("{", "{path} is not valid JSON ("),
    ],
)
def test_json_is_refused_in_one_line(tmp_path, text, line):
    path = tmp_path / "run.json"
    path.write_text(text)
    for read in (lambda: read_json(path), RunFolder(tmp_path).info):
        with pytest.raises(BadRecordsError) as refused:
            read()
        assert str(refused.value).startswith(line.format(path=path))


def test_what_is_no_file_is_neither_waited_for_nor_read_to_its_end(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(BadRecordsError, match=f"{name} is no regular file"):
            read_json(tmp_path / name)
    (tmp_path / "large").write_text("[" + "1," * 100 + "1]")
    monkeypatch.setattr(small_files, "MOST_JSON", 100)
    with pytest.raises(BadRecordsError, match="large has more than 0 MB"):
        read_json(tmp_path / "large")


def test_a_table_says_how_many_rows_it_has_before_they_are_read(tmp_path, monkeypatch):
    """A column of one number in a run of a few bytes: 30 million rows are a file of some kilobytes."""
    schema = arrow_schema("measures")
    one = pa.table({f.name: pa.array([0 if f.type != schema.field("layer").type else "x"]) for f in schema})
    rows = pa.concat_tables([one.cast(schema)] * 3)
    for run in ("a", "b"):
        path = part_path(tmp_path / run, "measures", 0)
        path.parent.mkdir(parents=True)
        pq.write_table(rows, path)
        (tmp_path / run / "run.json").write_text("{}")
    assert len(load_measures(tmp_path / "a")) == 3
    monkeypatch.setattr(part_sizes, "MOST_ROWS", 2)
    line = r"measures says that it has 3 rows with 3 numbers; at most 2 and 500000000 of one run are read"
    for read in (
        lambda: load_measures(tmp_path / "a"),
        lambda: load_measures(tmp_path / "a", steps="last"),
        lambda: compare_tables(tmp_path / "a", tmp_path / "b"),
    ):
        with pytest.raises(BadRecordsError, match=line):
            read()


def test_numbers_of_matrices_are_counted_too(tmp_path, monkeypatch):
    record(tmp_path, [0], {0: measurement(1, 0, grams=True)})
    parts = [pq.read_metadata(part_path(tmp_path, "grams", 0))]
    part_sizes.check_sizes(tmp_path, parts)
    monkeypatch.setattr(part_sizes, "MOST_NUMBERS", 15)
    with pytest.raises(BadRecordsError, match="numbers; at most"):
        part_sizes.check_sizes(tmp_path, parts)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    aim = tmp_path / "aim"
    aim.write_text("mine")
    for name in ("table.csv", f".table.csv.{os.getpid()}-{whole_files.threading.get_ident()}.tmp"):
        (tmp_path / name).symlink_to(aim)
    whole_files.write_text(tmp_path / "table.csv", "theirs")
    assert aim.read_text() == "mine"
    assert not (tmp_path / "table.csv").is_symlink()
    assert (tmp_path / "table.csv").read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == ["aim", "table.csv"]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path):
    whole_files.write_text(tmp_path / "a", "old")
    with pytest.raises(TypeError), whole_files.replacing(tmp_path / "a") as file:
        file.writelines([b"half", "no bytes"])
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["figures", "measures", "means", "checkpoints", ".hydra", "ncbench.log", "wandb"])
def test_a_link_in_a_run_folder_is_named(tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path)
    with pytest.raises(
        BadRecordsError, match=rf"run/{name}: is a link to .*; nothing is written through it, remove it"
    ):
        whole_files.refuse_links_in(tmp_path / "run")


def test_a_spreadsheet_finds_no_formula_and_pandas_the_same_numbers(tmp_path):
    texts = ["=1+1", "+2", "-3", "@x", "\tx", "\n=x", "head.1", "", "a=b", "a\r=b"]
    table = pd.DataFrame({"=cmd|x": texts, "layer": pd.Categorical(texts), "value": [-1.5, *range(9)]})
    (tmp_path / "table.csv").write_text(csv_text(table), newline="")
    found = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert list(found.columns) == ["'=cmd|x", "layer", "value"]
    assert not any(
        str(x).startswith(("=", "+", "-", "@", "\t", "\r")) for name in found.columns[:2] for x in found[name]
    )
    assert found["value"].tolist() == table["value"].tolist()
    unmarked = found["layer"].str.replace(r"^'(?=[=+\-@\t\r\n])", "", regex=True)  # as docs/runs.md says
    assert unmarked.tolist() == [text.replace("\r", " ") for text in texts]


OTHER_FILES = {  # modules that read files of another kind
    "claims/papers.py": "the papers' own",
    "config/cores.py": "those of the kernel",
    "config/trusted.py": "modules of this package",
    "data/torchvision_sets.py": "images, whose checksums are known",
    "models/replica/optim/lanes/cache.py": "modules of this package",
    "records/small_files.py": "the door itself",
    "report/pages/index.py": "a page that its user names",
    "report/pages/opening.py": "a cell of a table",
    "report/pages/record.py": "the record that is about to be replaced",
    "report/pages/templating.py": "a template of this package",
    "run/claimed.py": "experiments",
    "run/composer.py": "experiments",
    "run/hydra_messages.py": "experiments",
    "run/listing.py": "experiments",
    "run/processes.py": "what a process of its own has printed",
    "run/provenance.py": "those of the kernel",
    "sweep/anew.py": "a request of its own parent",
    "sweep/plan.py": "a text that was read within bounds",
    "sweep/states.py": "lines of what launchers did, each of which may be half a line",
}


def test_files_of_a_run_folder_are_read_through_one_door():
    """json.load and its like, and read_text and its like of a path, stand in these modules and in no other."""
    package = Path(ncbench.__file__).parent
    reads = re.compile(r"json\.loads?\(|yaml\.(safe_)?load\(|\.read_(text|bytes)\(")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if reads.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(OTHER_FILES)
