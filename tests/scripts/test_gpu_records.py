"""scripts/gpu_records.py: rehearsed on the CPU, interrupted and continued; what it leaves out and why."""

import json
import signal
import subprocess
import sys
import time

import gpu_records
import pytest
from gpu_records import STEPS, Session, Step, experiments

from ncbench.records.folder import RunFolder


def call(monkeypatch, tmp_path, *words):
    monkeypatch.setattr(sys, "argv", ["gpu_records.py", "--out", str(tmp_path / "out"), *words])
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        return gpu_records.main()
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)


def states(tmp_path):
    status = json.loads((tmp_path / "out" / "status.json").read_text())
    return {name: entry["state"] for name, entry in status["steps"].items()}


def python(code):
    return ("-c", code)


def test_steps_end_as_they_should(monkeypatch, tmp_path, capsys):
    """Done, failed, stopped at its limit, passed over; and a second call takes what is left."""
    steps = (
        Step("good", 0.001, 1, python("print('hello')")),
        Step("bad", 0.001, 1, python("raise SystemExit(3)")),
        Step("slow", 0.001, 0.02, python("import time; time.sleep(600)")),
        Step("long", 100, 100, python("")),
        Step("unknown", 0.001, 1, (), experiment="no/such_*"),
        Step("images", 0.001, 1, (), experiment="cifar_resnet20"),
    )
    monkeypatch.setattr(gpu_records, "STEPS", steps)
    monkeypatch.setattr(gpu_records, "GRACE", 6.0)
    assert call(monkeypatch, tmp_path, "--minutes", "1") == 1
    expected = {"good": "done", "bad": "failed", "slow": "stopped"} | dict.fromkeys(
        ("long", "unknown", "images"), "passed over"
    )
    assert states(tmp_path) == expected
    entries = json.loads((tmp_path / "out" / "status.json").read_text())["steps"]
    assert entries["bad"]["exit_status"] == 3
    reasons = [entries[name]["why"] for name in ("unknown", "images")]
    assert reasons == ["there is no experiment no/such_*", "it needs --root"]
    assert entries["long"]["why"].endswith("s are left, it takes 6000")
    assert (tmp_path / "out" / "logs" / "good.log").read_text() == "hello\n"
    capsys.readouterr()
    monkeypatch.setattr(gpu_records, "STEPS", (*steps[:2], Step("slow", 0.001, 1, python("")), *steps[3:]))
    assert call(monkeypatch, tmp_path, "--minutes", "1") == 1
    assert states(tmp_path) == expected | {"slow": "done"}
    said = capsys.readouterr().out
    assert "good" not in said
    assert "bad" not in said
    assert call(monkeypatch, tmp_path, "--minutes", "1", "--only", "bad", "--retry") == 1
    assert (tmp_path / "out" / "logs" / "good.log").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0"], "gpu_records: --minutes 0.0: must be > 0"),
        (["--minutes", "1", "--only", "x"], "gpu_records: --only x: must be one of tests, cifar_resnet20"),
        (["--minutes", "1", "--root", "nowhere"], "gpu_records: --root nowhere: is no folder"),
    ],
)
def test_refused_in_one_line(monkeypatch, tmp_path, capsys, words, message):
    assert call(monkeypatch, tmp_path, *words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(message)
    assert not (tmp_path / "out").exists()


def test_the_list_names_experiments_and_files_that_exist(tmp_path):
    assert len({step.name for step in STEPS}) == len(STEPS)
    assert experiments("cifar_resnet20") == ["cifar_resnet20"]
    assert experiments("garrod25/fig2_*") == ["garrod25/fig2_decay", "garrod25/fig2_scale", "garrod25/fig2_width"]
    for step in STEPS:
        script = next((word for word in step.words if word.endswith(".py")), None)
        assert script is None or (gpu_records.REPOSITORY / script).is_file()


def test_a_training_runs_on_the_gpu_and_its_rehearsal_does_not(tmp_path):
    from argparse import Namespace

    (step,) = (step for step in STEPS if step.name == "cifar_resnet20")
    words = {}
    for rehearse in (False, True):
        options = Namespace(minutes=1.0, out=tmp_path, root=tmp_path, rehearse=rehearse)
        words[rehearse] = Session(options).command(step)
    assert {"seed=0,1,2", "trainer.cuda_graph=true"} <= set(words[False])
    assert {f"dataset.root={tmp_path}", "hydra.launcher.jobs_per_gpu=1"} <= set(words[False])
    assert {"dataset=digits", "trainer.accelerator=cpu", "trainer.max_epochs=1"} <= set(words[True])
    assert not any("gpu" in word for word in words[True] if not word.startswith("hydra.launcher"))


@pytest.mark.slow
def test_a_rehearsal_from_start_to_end(tmp_path):
    """Killed in the first training, continued; all that needs no images is done in the end."""
    command = [sys.executable, gpu_records.__file__, "--minutes", "30", "--out", str(tmp_path / "out"), "--rehearse"]
    first = subprocess.Popen(command)
    while states_or_none(tmp_path).get("cifar_resnet20") != "running":
        time.sleep(0.2)
        assert first.poll() is None
    time.sleep(5)
    first.terminate()
    assert first.wait(60) == 1
    assert states(tmp_path)["cifar_resnet20"] == "stopped"
    subprocess.run(command, check=False)
    found = states(tmp_path)
    left = {name: state for name, state in found.items() if state != "done"}
    assert set(left) == {"bench_train", "bench_compile"}
    assert set(left.values()) == {"passed over"}
    for name in ("cifar_resnet20", "garrod25_fig3", "engine"):
        runs = [path.parent for path in (tmp_path / "out" / name).glob("*/run.json")]
        assert runs
        assert {RunFolder(run).info()["status"] for run in runs} == {"done"}


def states_or_none(tmp_path):
    return states(tmp_path) if (tmp_path / "out" / "status.json").exists() else {}
