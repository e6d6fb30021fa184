"""One of two gloo processes of test_distributed: `python processes_worker.py STORE FOLDER RANK`."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from ncbench.measure import CollapseMetric, MeasureCollapse, measure_network

N, K, D = 101, 3, 5
H = 2 + torch.randn(N, D, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % K
DATA = TensorDataset(H, Y)
OPTIONS = {"layers": ["2", "3"], "num_classes": K, "measures": ["cdnv", "nc1", "ncc_accuracy"]}


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(D, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, K)).double()


def values(found):
    keys = zip(found["split"], found.layer, found.stage, found.measure, found["index"], strict=True)
    return {" ".join(map(str, key)): value for key, value in zip(keys, found.value, strict=True)}


def batches(order, size=20):
    return [(H[part], Y[part]) for part in order.split(size)]


def measured(loader, **options):
    """The values, and how many samples all processes together counted."""
    counted = []

    def count(moments):
        counted.append(int(moments.counts.sum()))
        return torch.zeros(())

    model, rank = network(), dist.get_rank()
    model[
        1
    ].running_mean += rank  # after a step of DDP every process has statistics of its own; those of process 0 count
    found = measure_network(model, loader, **OPTIONS, moments={"n": count}, distributed=True, **options)
    assert model[1].running_mean.tolist() == [rank] * 6
    return values(found[found.measure != "n"]), counted[0]


class Callback(pl.Trainer):
    """What MeasureCollapse asks of a trainer, without a training."""

    def __init__(self, rank):
        self.rank = rank

    world_size, current_epoch, max_epochs, global_step, loggers, callbacks = 2, 0, 1, 0, (), ()
    training, state = True, SimpleNamespace(fn="fit")
    fit_loop = SimpleNamespace(
        epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(ready=0)))
    )
    is_global_zero = property(lambda self: self.rank == 0)


def by_callback(rank):
    found = []
    callback = MeasureCollapse(
        OPTIONS["layers"],
        DataLoader(DATA, 20),
        K,
        measures=OPTIONS["measures"],
        sink=lambda step, epoch, m: found.append(m),
        clock=lambda trainer: (0, 0.0),
        module=network(),
    )
    callback.on_train_start(Callback(rank), pl.LightningModule())
    assert len(found) == (rank == 0)
    latest = callback.latest
    listed = {" ".join((*key, "0")): float(x) for key, x in latest.values.items()}
    for (layer, stage), s in latest.spectra.items():
        split = "" if stage == "weight" else "train"
        listed |= {f"{split} {layer} {stage} singular_value {i}": float(x) for i, x in enumerate(s[0])}
    return listed


def everything(rank):
    padded = DataLoader(DATA, 20, sampler=DistributedSampler(DATA))
    ways = {
        "sampler": measured(DataLoader(DATA, 20)),
        "shuffled": measured(DataLoader(DATA, 20, shuffle=True)),
        "padded": measured(padded),
        "batches": measured(batches(torch.arange(N))),
        "fewer batches than processes": measured([(H, Y)]),
        "sharded": measured(batches(torch.arange(N)[rank::2], size=7), sharded=True),
        "reestimated": measured(DataLoader(DATA, N), batch_norm="reestimate"),
    }
    ways["callback"] = (by_callback(rank), N)
    halves = [(H[r::2], Y[r::2]) for r in (0, 1)]  # the batches of the two processes
    metric = CollapseMetric(K, D)
    metric.update(H[rank::2], Y[rank::2])
    local = CollapseMetric(K, D, sync_on_compute=False)
    local.update(H, Y)
    return {
        "values": {way: found for way, (found, _) in ways.items()},
        "counts": {way: count for way, (_, count) in ways.items()},
        "alone": {
            "plain": values(measure_network(network(), DataLoader(DATA, 17), **OPTIONS)),
            "reestimated": values(measure_network(network(), halves, **OPTIONS, batch_norm="reestimate")),
        },
        "metric": {name: float(x) for name, x in metric.compute().items()},
        "metric_alone": {name: float(x) for name, x in local.compute().items()},
    }


def errors(rank):
    padded = DataLoader(DATA, 20, sampler=DistributedSampler(DATA))
    other_order = batches(torch.randperm(N, generator=torch.Generator().manual_seed(rank)))
    twice = [*range(51)] * 2 if rank == 0 else [*range(51, N)]
    broken = [(H, Y.double() if rank == 0 else Y)] * 2
    tried = {
        "padded and sharded": lambda: measured(padded, sharded=True),
        "another order in each process": lambda: measured(other_order),
        "a sample twice": lambda: measured(DataLoader(DATA, 20, sampler=[*range(N), 0])),
        "a sample twice in one process": lambda: measured(DataLoader(DATA, 20, sampler=twice), sharded=True),
        "one process fails": lambda: measured(broken, sharded=True),
    }
    found = {}
    for name, attempt in tried.items():
        try:
            attempt()
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    store, folder, rank = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
    result = {**everything(int(rank)), "errors": errors(int(rank))}
    (Path(folder) / f"process{rank}.json").write_text(json.dumps(result))
    dist.destroy_process_group()
