"""What run.json says about the machine."""

import torch

from ncbench.run import provenance


def test_the_device_as_this_process_sees_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-5")
    device = provenance.provenance("cpu")["device"]
    assert device["visible_devices"] == "1,GPU-5"
    assert device["threads"] == torch.get_num_threads()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert provenance.provenance("cpu")["device"]["visible_devices"] is None
