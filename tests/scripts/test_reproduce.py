"""scripts/reproduce.sh: what it runs, what it refuses, and that it continues."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TINY = """# @package _global_
# Paper    none
# Command  python -m ncbench.train +experiment={name}
# Expected nothing
# Cost     a second
defaults:
  - dufm_k10
  - _self_
name: {name}
reproduces: {{paper: {paper}, figure: 5, forms: [quick]}}
replicate: {{seed: 8}}
schedule: {{steps: {steps}}}
measure: {{points: 3}}
claims:
{inherited}  it_falls:
    {{statement: it falls, source: ours, check: share_below, below: {below}, at_least: 0.5, expect: holds}}
"""


def environment(out):
    return {**os.environ, "PYTHON": sys.executable, "OUT": str(out), "OMP_NUM_THREADS": "1"}


def run(root, out, *arguments):
    command = [str(root / "scripts" / "reproduce.sh"), *arguments]
    return subprocess.run(command, env=environment(out), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the package with tiny experiments of its own, which the script has to find by itself."""
    root = tmp_path_factory.mktemp("house")
    others = shutil.ignore_patterns("__pycache__", "sukenik24", "zangrando2?", "garrod25", "papyan20")
    for folder in ("ncbench", "conf", "scripts"):
        shutil.copytree(ROOT / folder, root / folder, ignore=others)
    parent = yaml.safe_load((ROOT / "conf" / "experiment" / "dufm_k10.yaml").read_text())
    inherited = "".join(f"  {claim}: null\n" for claim in parent["claims"])
    made = (("a_first", "zangrando24", 10, 1.0), ("b_long", "zangrando24", 15000, 1.0), ("other", "garrod25", 10, 0.0))
    for name, paper, steps, below in made:
        text = TINY.format(name=name, paper=paper, steps=steps, below=below, inherited=inherited)
        (root / "conf" / "experiment" / f"{name}.yaml").write_text(text)
    return root


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: scripts/reproduce.sh quick|paper [PAPER]"),
        (["fast"], "usage: scripts/reproduce.sh quick|paper [PAPER]"),
        (["quick", "paper"], "usage: scripts/reproduce.sh quick|paper [PAPER]"),
        (["quick", "smith99"], "--list smith99: must be among"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, arguments, message):
    done = run(ROOT, tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_killed_and_started_again_it_continues_and_writes_the_index(house, tmp_path):
    out = tmp_path / "out"
    command = [str(house / "scripts" / "reproduce.sh"), "quick", "zangrando24"]
    script = subprocess.Popen(command, env=environment(out), stdout=subprocess.DEVNULL, start_new_session=True)
    last = out / "b_long" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 600
    while not last.exists() and script.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert last.exists()
    os.killpg(script.pid, signal.SIGKILL)
    script.wait()
    first = json.loads((out / "a_first" / "run.json").read_text())
    assert first["status"] == "done"
    done = run(house, out, "quick", "zangrando24")
    assert done.returncode == 0, done.stderr
    assert "already done" in done.stdout
    assert json.loads((out / "a_first" / "run.json").read_text()) == first
    assert json.loads((out / "b_long" / "run.json").read_text())["status"] == "done"
    index = (out / "README.md").read_text()
    assert "`a_first`" in index
    assert "`b_long`" in index
    assert "`other`" not in index


def test_a_verdict_that_was_not_expected_is_exit_status_1(house, tmp_path):
    done = run(house, tmp_path / "out", "quick", "garrod25")
    assert done.returncode == 1
    assert "other: it_falls: fails (expected holds)" in done.stdout
    assert (tmp_path / "out" / "index.html").is_file()
