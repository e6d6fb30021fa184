"""MeasureCollapse in a Lightning DDP run of two CPU processes: `python ddp_worker.py FOLDER`."""

import json
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ncbench import MeasureCollapse, measure_network

N, K = 101, 3
H, Y = 2 + torch.randn(N, 5, generator=torch.Generator().manual_seed(0)).double(), torch.arange(N) % K


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.fc = nn.Linear(6, K)
        self.double()

    def forward(self, x):
        return self.fc(self.body(x))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder):
    data = TensorDataset(H, Y)
    loader = DataLoader(data, batch_size=10, shuffle=True)
    module = Module()
    alone = measure_network(module, loader, layers=["body", "fc"], num_classes=K, measures=["nc1"])
    callback = MeasureCollapse(["body", "fc"], loader, K, epochs=[0, 2], measures=["nc1"], folder=Path(folder) / "run")
    silent = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = pl.Trainer(strategy="ddp", accelerator="cpu", devices=2, max_epochs=2, callbacks=[callback], **silent)
    trainer.fit(module, DataLoader(data, batch_size=17))
    later = measure_network(module, loader, layers=["body", "fc"], num_classes=K, measures=["nc1"])
    table = callback.table()
    assert len(table) == (0 if trainer.global_rank else 2 * len(table[table.epoch == 0]))
    if trainer.global_rank == 0:
        found = {"0": table[table.epoch == 0], "2": table[table.epoch == 2]}
        expected = {"0": alone, "2": later}
        keep = {
            which: {
                epoch: {
                    " ".join((row.split, row.layer, row.stage, row.measure)): row.value
                    for row in rows[rows.measure != "singular_value"].itertuples()
                }
                for epoch, rows in tables.items()
            }
            for which, tables in (("found", found), ("expected", expected))
        }
        (Path(folder) / "values.json").write_text(json.dumps(keep))


if __name__ == "__main__":
    main(sys.argv[1])
