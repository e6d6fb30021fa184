"""Networks: backbones with a bias-free head; ensembles of small networks are in `ncbench.models.replica`."""

from ncbench.models.backbones import ResNet20, SmallConvNet, SmallMLP
from ncbench.models.heads import BackboneWithHead, mlp_head

__all__ = ["BackboneWithHead", "ResNet20", "SmallConvNet", "SmallMLP", "mlp_head"]
