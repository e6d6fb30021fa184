"""The examples of docs/models.md, from an empty folder."""

import re
from pathlib import Path

import pytest

from ncbench.report import load_measures
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
BLOCKS = re.findall(r"^```(?:yaml|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FILES = {re.search(r"# (\S+\.(?:yaml|py))", block)[1]: block for block in BLOCKS}
NAMES = sorted(Path(file).stem for file in FILES if file.endswith(".yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_trains(name, tmp_path, monkeypatch):
    for file, text in FILES.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    if name == "timm_resnet":
        pytest.importorskip("timm", reason="timm is no requirement of ncbench")
    tiny = ["trainer.max_epochs=1", "measure.points=2", "trainer.progress=false", "dataset.per_class=12"]
    (job,) = compose_jobs([f"+experiment={name}", *tiny], multirun=False, config_dirs=["MINE"])
    if name == "torchvision_resnet":  # three channels: composed, and tried when it is made
        assert job.config.model.further == {"num_classes": 10}
        return
    assert run_execute.execute(job.config, tmp_path / "run", command="test") == 0
    layers = {"fc.input", "fc"}
    assert layers <= set(load_measures(tmp_path / "run")["layer"])


def test_the_page_has_three_examples_and_the_module_that_one_needs():
    assert NAMES == ["my_network", "timm_resnet", "torchvision_resnet"]
    assert "mynet.py" in FILES
