"""Digests of the weights: by hand, of replicas alone and among others, and of a run that was stopped."""

import hashlib
import json

import pytest
import torch

from ncbench.records.folder import RunFolder
from ncbench.records.whole_files import write_json
from ncbench.report import load_measures
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from ncbench.training.digest import replica_digests, weights_digest

IMAGES = ["+experiment=digits_mlp", "dataset.per_class=12", "dataset.batch_size=40", "trainer.max_epochs=4"]
IMAGES += ["measure.points=5", "trainer.progress=false", "trainer.checkpoint_seconds=0"]
DUFM = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=40", "measure.points=6"]
DUFM += ["trainer.progress=false", "trainer.checkpoint_seconds=0"]


def execute(overrides, folder):
    (composed,) = compose_jobs(overrides, multirun=False)
    return run_execute.execute(composed.config, folder, command="test", overrides=overrides)


def test_the_digest_by_hand():
    network = torch.nn.Module()
    network.register_buffer("b", torch.tensor([[1, 2], [3, 4]]).mT)  # int64, not contiguous: 1, 3, 2, 4 by rows
    network.a = torch.nn.Parameter(torch.tensor(1.0))  # 0x3f800000
    numbers = bytes.fromhex("0000803f") + b"".join(n.to_bytes(8, "little") for n in (1, 3, 2, 4))
    assert weights_digest(network) == hashlib.sha256(numbers).hexdigest()
    assert weights_digest(network) == "3e2f342ecdff5bd90d1d3f5b14699bcefe2474d90ce8e14ccd9a9f15317cd2c6"
    assert weights_digest(network.to(torch.bfloat16)) != weights_digest(network.to(torch.float64))


def test_the_digests_of_replicas_by_hand():
    network = torch.nn.Module()
    network.register_buffer("b", torch.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]).mT)  # two replicas
    network.a = torch.nn.Parameter(torch.tensor([1.0, -2.0]))  # 0x3f800000, 0xc0000000
    numbers = [
        bytes.fromhex(a) + b"".join(n.to_bytes(8, "little") for n in b)
        for a, b in (("0000803f", (1, 3, 2, 4)), ("000000c0", (5, 7, 6, 8)))
    ]
    assert replica_digests(network, 2) == [hashlib.sha256(all_bytes).hexdigest()[:16] for all_bytes in numbers]
    assert replica_digests(network, 2) == ["3e2f342ecdff5bd9", "18d4810d775b5cff"]
    network.c = torch.nn.Parameter(torch.zeros(()))  # of no replica: part of each
    assert len(set(replica_digests(network, 2)) | {"3e2f342ecdff5bd9", "18d4810d775b5cff"}) == 4


def test_a_replica_alone_has_the_digest_that_it_has_among_others(tmp_path):
    """Trained with others or by itself, in whatever place: bit for bit the same weights."""
    assert execute(DUFM, tmp_path / "both") == 0
    assert execute([*DUFM, "seed=1", "replicate.seed=1"], tmp_path / "second") == 0
    both, second = (RunFolder(tmp_path / name).info() for name in ("both", "second"))
    assert both["replica_digests"][1:] == second["replica_digests"]
    assert both["replica_digests"][0] != second["replica_digests"][0]
    assert second["replica_digests"] == [list(second["digests"].values())[-1][:16]]


@pytest.mark.parametrize("overrides", [DUFM, IMAGES], ids=["dufm", "digits"])
def test_a_resumed_run_has_the_digests_of_an_undisturbed_one(overrides, tmp_path, monkeypatch):
    assert execute(overrides, tmp_path / "whole") == 0
    digests = RunFolder(tmp_path / "whole").info()["digests"]
    assert [int(step) for step in digests] == sorted(set(load_measures(tmp_path / "whole").step))
    saved = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    numbers = [x.numpy().tobytes() for name, x in sorted(saved.items()) if name.startswith("network.")]
    assert hashlib.sha256(b"".join(numbers)).hexdigest() == list(digests.values())[-1]
    real = session.RunSession._record

    def stops(self, step, epoch, found, network):
        real(self, step, epoch, found, network)
        if step == int(list(digests)[3]):  # recorded, and no checkpoint follows
            raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert execute(overrides, tmp_path / "stopped") == 1
    path = tmp_path / "stopped" / "run.json"
    info = json.loads(path.read_text())
    assert info["digests"] == dict(list(digests.items())[:4])
    write_json(path, {**info, "digests": {**info["digests"], "999": "after the checkpoint"}})
    assert execute(overrides, tmp_path / "stopped") == 0
    ended = [RunFolder(tmp_path / name).info() for name in ("stopped", "whole")]
    assert ended[0]["digests"] == digests
    assert ended[0].get("replica_digests") == ended[1].get("replica_digests")
