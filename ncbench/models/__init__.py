"""Networks: backbones with a bias-free head, and whole networks of anybody's.

Ensembles of small networks are in `ncbench.models.replica`.
"""

from ncbench.models.backbones import ResNet18, ResNet20, SmallConvNet, SmallMLP
from ncbench.models.heads import BackboneWithHead, mlp_head
from ncbench.models.whole import whole_network

__all__ = ["BackboneWithHead", "ResNet18", "ResNet20", "SmallConvNet", "SmallMLP", "mlp_head", "whole_network"]
