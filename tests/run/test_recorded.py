"""Run folders of an earlier version: recognised by the hash that they carry, or refused in one line."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from ncbench import load_run, train
from ncbench.config.identity import differences
from ncbench.measure.__main__ import main as measure
from ncbench.records import finished, proven_files
from ncbench.records.errors import DamagedError
from ncbench.records.finished import check_finished
from ncbench.records.folder import OccupiedError, RunFolder, RunState, read_config
from ncbench.records.manifest import file_digest
from ncbench.records.run_hash import config_hash, schema_1_hash
from ncbench.records.schema import OVERRIDES
from ncbench.report.verdicts.judge import judge
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from ncbench.run.recorded import bring_up_to_date, state_of

# As version 0.1 wrote it for +experiment=dufm_k10: no kinds, no kmeans, a list of claims.
RECORDED = Path(__file__).parent / "folders" / "dufm_k10_schema_1.yaml"
HASH = "863607eced9fdf30ffde192cc0e9a1b72b02d92696528c41db47c5f033c8ca30"
TINY = ["+experiment=dufm_k10", "replicate.seed=1", "schedule.steps=20", "measure.points=3", "trainer.progress=false"]
KINDS = ("dataset", "model", "objective", "optimizer", "schedule")


def of_schema_1(folder):
    """Make a folder what the earlier version would have left of the same run, which had no manifest."""
    (folder / "manifest.json").unlink(missing_ok=True)
    values = read_config(folder)
    for group in KINDS:
        del values[group]["kind"]
    for group, given in (("model", ("start", "start_noise")), ("optimizer", ("nesterov",)), ("measure", ("kmeans",))):
        for key in given:
            del values[group][key]
    del values["schedule"]["tolerance"]
    values["claims"] = [{"says": "Section 6.1.", "check": "share_below", "reference": "dnc", "expect": "reproduced"}]
    OmegaConf.save(OmegaConf.create(values), folder / "config.yaml")
    RunFolder(folder).update(schema_version=1, config_hash=schema_1_hash(values))
    return values


def info(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "run"
    assert train.main([*TINY, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def old(tiny, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(tiny, folder)
    of_schema_1(folder)
    return folder


def test_a_real_record_is_the_run_of_today(tmp_path):
    shutil.copy(RECORDED, tmp_path / "config.yaml")
    assert schema_1_hash(read_config(tmp_path)) == HASH
    run = RunFolder(tmp_path)
    run.update(schema_version=1, status="done", config_hash=HASH)
    as_then = ["+experiment=dufm_k10", "model.init_generator=torch"]  # what initial values were drawn by
    (today,) = compose_jobs(as_then, multirun=False)
    assert state_of(run, today.config) is RunState.DONE
    (other,) = compose_jobs([*as_then, "seed=1"], multirun=False)
    with pytest.raises(ValueError, match="holds a run of another configuration"):
        state_of(run, other.config)


def test_done_stays_done_and_gets_the_present_form(old, capsys):
    weights = (old / "checkpoints" / "last.ckpt").read_bytes()
    assert train.main([*TINY, f"hydra.run.dir={old}"]) == 0
    assert "already done" in capsys.readouterr().out
    assert (old / "checkpoints" / "last.ckpt").read_bytes() == weights
    (job,) = compose_jobs(TINY, multirun=False)
    assert (info(old)["schema_version"], info(old)["config_hash"]) == (2, config_hash(differences(job.config)))
    assert read_config(old) | {"trainer": None} == job.config.plain() | {"trainer": None}
    assert train.main([*TINY, "claims.best_reaches_srg.tolerance=0.03", f"hydra.run.dir={old}"]) == 0
    assert "already done; claims changed: best_reaches_srg: " in capsys.readouterr().out


def test_two_commands_with_other_claims_at_once_condemn_nothing(tiny, tmp_path, monkeypatch):
    """The second comes between the manifest and the file of the first, whose digest it would take out of the list."""
    folder = shutil.copytree(tiny, tmp_path / "run")
    tolerances = [f"claims.best_reaches_srg.tolerance={tolerance}" for tolerance in (0.03, 0.04)]
    (first,), (second,) = (compose_jobs([*TINY, tolerance], multirun=False) for tolerance in tolerances)
    real, refused = proven_files.write_text, []

    def written(path, text):
        if path.name == "config.yaml" and not refused:
            with pytest.raises(OccupiedError, match="a run is going on in this folder") as error:
                bring_up_to_date(RunFolder(folder), second.config)
            refused.append(error)
        real(path, text)

    monkeypatch.setattr(proven_files, "write_text", written)
    assert bring_up_to_date(RunFolder(folder), first.config) == ["best_reaches_srg"]
    assert refused
    check_finished(folder)
    assert read_config(folder)["claims"] == first.config.plain()["claims"]
    assert bring_up_to_date(RunFolder(folder), second.config) == ["best_reaches_srg"]
    check_finished(folder)
    # Where nothing is to be written no lock is asked for: such as in a folder to read only.
    with RunFolder(folder):
        assert bring_up_to_date(RunFolder(folder), second.config) == []


def test_overrides_go_with_the_claims_of_a_command(tiny, tmp_path):
    """The same run is that of another command where the experiment's own value is by now what an override gave."""
    folder = shutil.copytree(tiny, tmp_path / "run")
    mine = tmp_path / "mine" / "experiment" / "tiny.yaml"
    mine.parent.mkdir(parents=True)
    own = "replicate: {seed: 1}\nschedule: {steps: 20}\nmeasure: {points: 3}\nclaims: {below_dnc: null}\n"
    mine.write_text(f"# @package _global_\ndefaults: [/experiment/dufm_k10, _self_]\n{own}")
    assert {"replicate.seed=1", "schedule.steps=20"} < set(judge(folder)[0].overrides)
    assert train.main([f"--config-dir={mine.parent.parent}", "+experiment=tiny", f"hydra.run.dir={folder}"]) == 0
    assert OmegaConf.load(folder / OVERRIDES) == ["+experiment=tiny"]
    assert judge(folder)[0].overrides == []
    check_finished(folder)


def test_a_sweep_reads_no_checkpoint_that_is_as_it_was_written(tiny, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(finished, "file_digest", lambda path: read.append(path.name) or file_digest(path))
    run = shutil.copytree(tiny, tmp_path / "run")  # with their times
    last = run / "checkpoints" / "last.ckpt"
    check_finished(run, quick=True)
    assert read == []
    check_finished(run)  # a single run reads it
    assert read == ["last.ckpt"]
    os.utime(last, ns=(0, 10**18))  # as in a copy with times of its own
    check_finished(run, quick=True)
    assert read == ["last.ckpt"] * 2
    for content in (last.read_bytes()[:-1], last.read_bytes()[:-1] + b"x"):
        last.write_bytes(content)
        with pytest.raises(DamagedError, match=r"last\.ckpt: is damaged"):
            check_finished(run, quick=True)
    last.unlink()
    with pytest.raises(DamagedError, match=r"last\.ckpt: is missing"):
        check_finished(run, quick=True)


def test_an_interrupted_run_continues(tiny, tmp_path, monkeypatch):
    real, seen, folder = session.RunSession._record, [], tmp_path / "stopped"

    def stops(self, *measured):
        real(self, *measured)
        seen.append(measured)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert train.main([*TINY, f"hydra.run.dir={folder}"]) == 1
    of_schema_1(folder)
    assert info(folder)["status"] == "interrupted"
    assert train.main([*TINY, f"hydra.run.dir={folder}"]) == 0
    assert (info(folder)["status"], info(folder)["schema_version"]) == ("done", 2)
    one, two = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in (tiny, folder))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda text: text.replace("depth: 4", "depth: 5"),
            "an earlier version, and its config.yaml is not that run's",
        ),
        (lambda text: "", "an earlier version, and its config.yaml is not that run's"),
    ],
)
def test_a_folder_that_does_not_fit_its_hash_is_refused(old, capsys, edit, message):
    (old / "config.yaml").write_text(edit((old / "config.yaml").read_text()))
    before = info(old)
    assert train.main([*TINY, f"hydra.run.dir={old}"]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert info(old) == before


def test_another_configuration_is_refused_there_too(old, capsys):
    assert train.main([*TINY, "seed=5", f"hydra.run.dir={old}"]) == 2
    assert "holds a run of another configuration" in capsys.readouterr().err


def test_what_is_no_longer_allowed_is_said(old, capsys):
    values = read_config(old)
    values["model"]["_target_"] = "gone.DUFM"
    OmegaConf.save(OmegaConf.create(values), old / "config.yaml")
    RunFolder(old).update(config_hash=schema_1_hash(values))
    assert train.main([*TINY, f"hydra.run.dir={old}"]) == 2
    error = capsys.readouterr().err
    assert (
        "a run of an earlier version, whose configuration is no longer valid (model._target_=gone.DUFM: this is no"
        in error
    )


def test_weights_and_measures_of_an_old_folder(old, capsys):
    module, data, config = load_run(old)
    assert (config.model.KIND, data.num_classes) == ("free_features", 10)
    assert isinstance(module.network.head[0].linear, torch.nn.Linear)
    assert measure([str(old)]) == 0
    assert "head.4" in capsys.readouterr().out


def test_a_damaged_part_is_found_by_every_command_on_the_run(tiny, tmp_path, capsys):
    folder = shutil.copytree(tiny, tmp_path / "run")
    (part,) = (folder / "measures").iterdir()  # three measurements, merged with the checkpoint
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    line = f"{part}: is damaged (its checksum is another); put a whole copy of it back"
    again = [*TINY, f"hydra.run.dir={folder}"]
    assert train.main(again) == 2
    assert capsys.readouterr().err.startswith(f"ncbench: {line}")
    assert measure([str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"ncbench measure: {line}")
    RunFolder(folder).update(status="interrupted")
    assert train.main(again) == 1
    assert f"ncbench: failed: {line}" in capsys.readouterr().err
    assert info(folder)["status"] == "failed"
