"""PyTorch networks with the state-dict keys of the official FairMOT and CenterNet checkpoints."""

from fairmot.export.networks.network import SIZE_MULTIPLE, STRIDE, HeadSizes, Network
from fairmot.export.networks.registry import ARCHITECTURES, build_network, require_architecture

__all__ = ["ARCHITECTURES", "SIZE_MULTIPLE", "STRIDE", "HeadSizes", "Network", "build_network", "require_architecture"]
