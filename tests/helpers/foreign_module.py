"""Somebody's LightningModule, which knows nothing of ncbench."""

import pytorch_lightning as pl
import torch
from torch import nn


class Plain(pl.LightningModule):
    """Five inputs, a hidden layer `body` of six, a last layer `fc`; trained by SGD on the batches given."""

    def __init__(self, batches, num_classes):
        super().__init__()
        torch.manual_seed(3)
        self.batches = batches
        self.body = nn.Sequential(nn.Linear(5, 6), nn.ReLU())
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x):
        return self.fc(self.body(x))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.batches, batch_size=None)
