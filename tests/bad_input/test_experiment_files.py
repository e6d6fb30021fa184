"""Wrong files of one's own: an experiment, a paper, a folder of configurations."""

from pathlib import Path

import pytest

from ncbench import train
from tests.helpers.refusals import refused

HEAD = "# @package _global_\n"
LINES = Path(__file__).with_name("experiment_files.txt").read_text().splitlines()


@pytest.mark.parametrize(("text", "message"), [pytest.param(*x.split(" -> "), id=x.split(" -> ")[0]) for x in LINES])
def test_a_wrong_file_is_refused_in_one_line(text, message, tmp_path, capfd, monkeypatch):
    """The line is the file; a mapping without defaults of its own inherits from digits_mlp."""
    own = text.startswith(("defaults", "- ", "3", '"', "? ", "!"))
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    body = text if own else f"defaults: [digits_mlp, _self_]\n{text}"
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(f"{HEAD}{body}\n")
    monkeypatch.chdir(tmp_path)
    refused(lambda: train.main(["--config-dir", "mine", "+experiment=own"]), message, tmp_path, capfd)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"experiment/own.yaml": b"name: \xff\n"}, "mine/experiment/own.yaml: must be a text in UTF-8"),
        ({"experiment/own.yaml": b"name: x\n"}, "mine/experiment/own.yaml: its first line must be"),
        ({"experiment/own.yml": b"# @package _global_\nname: x\n"}, "unknown experiment 'own'"),
        ({"own.yaml": b"# @package _global_\nname: x\n"}, "unknown experiment 'own'"),
        ({}, "unknown experiment 'own'"),
    ],
)
def test_a_wrong_folder_is_refused_in_one_line(files, message, tmp_path, capfd, monkeypatch):
    (tmp_path / "mine").mkdir()
    for name, content in files.items():
        (tmp_path / "mine" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    refused(lambda: train.main(["--config-dir", "mine", "+experiment=own"]), message, tmp_path, capfd)
