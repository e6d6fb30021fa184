"""What a run of a stack left in its folder."""

import json

import torch

from ncbench.report import load_measures


def checkpoint(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def weights(folder):
    state = checkpoint(folder)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def states(folder):
    return json.loads((folder / "run.json").read_text())["replica_states"]


def column(folder, measure, step):
    found = load_measures(folder, measures=[measure], layers=[""], steps=[step])
    return found.sort_values("replica").value.tolist()
