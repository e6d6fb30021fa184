"""What a run of an ensemble left in its folder."""

import json

import torch

from ncbench.records.layers import WHOLE_NETWORK
from ncbench.records.schema import CHECKPOINTS, LAST_CHECKPOINT, RUN_INFO
from ncbench.report import load_measures


def checkpoint(folder):
    return torch.load(folder / CHECKPOINTS / LAST_CHECKPOINT, weights_only=True)


def weights(folder):
    state = checkpoint(folder)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def states(folder):
    return json.loads((folder / RUN_INFO).read_text())["replica_states"]


def column(folder, measure, step):
    values = load_measures(folder, measures=[measure], layers=[WHOLE_NETWORK], steps=[step])
    return values.sort_values("replica").value.tolist()
