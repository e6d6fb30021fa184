"""A repetition that does not get to its end: the command that is printed is the one that continues it."""

import shlex

import pytest

from ncbench import train
from ncbench.sweep import again
from ncbench.sweep.__main__ import main

TINY = ["+experiment=digits_mlp", "trainer.max_epochs=1", "dataset.per_class=10", "trainer.progress=false"]
OTHERS = ["--trust", "mynet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unfinished") / "a run"
    assert train.main([*TINY, f"hydra.run.dir='{folder}'"]) == 0
    return folder


@pytest.fixture
def asked(monkeypatch):
    """What the process that trains is asked for; it ends with the status that is put in `ends`."""
    requests = []

    def ended(values, out, *, command, **others):
        requests.append((values["dataset"].get("root"), command))
        return ended.status

    monkeypatch.setattr(again, "train_anew", ended)
    ended.requests, ended.status = requests, 1
    return ended


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "{run}", "--out", "{out}"],
        ["verify", "{run}", "--out", "{out}", "--note", *OTHERS],
        ["rerun", "{run}"],
        ["rerun", "{run}", "--out", "{out}", *OTHERS],
    ],
    ids=["verify", "verify with all options", "rerun", "rerun with all options"],
)
def test_the_same_command_continues(words, run, asked, tmp_path, capsys):
    words = [word.format(run=run, out=tmp_path / "an out") for word in words]
    assert main(words) == 1
    said = capsys.readouterr().out
    printed = said.partition("the same command continues: ")[2].splitlines()[0]
    assert shlex.split(printed) == ["python", "-m", "ncbench.sweep", *words]
    assert asked.requests == [(None, printed)]


def test_the_folder_of_the_data_is_part_of_it(run, asked, monkeypatch, tmp_path, capsys):
    """With data in a folder, which the small run has not: only where it lies is changed."""
    monkeypatch.setattr("ncbench.sweep.committed.with_data", lambda values, data, name: values)
    words = ["verify", str(run), "--out", str(tmp_path / "out"), "--note", "dataset.root=the data"]
    assert main(words) == 1
    assert f"continues: {shlex.join(['python', '-m', 'ncbench.sweep', *words])}\n" in capsys.readouterr().out


def test_without_a_folder_that_stays_it_begins_again(run, asked, capsys):
    assert main(["verify", str(run)]) == 1
    said = capsys.readouterr().out
    assert "not trained to its end; the same command begins again, with --out DIR it could be continued\n" in said


@pytest.mark.parametrize("command", ["verify", "rerun"])
def test_what_the_training_process_has_refused_is_not_said_twice(command, run, asked, tmp_path, capsys):
    asked.status = 2
    assert main([command, str(run), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []
