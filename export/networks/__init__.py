"""PyTorch networks with the state-dict keys of the official FairMOT and CenterNet checkpoints."""

from fairmot.export.networks.network import STRIDE, HeadSizes, Network
from fairmot.export.networks.registry import ARCHITECTURES, build_network

__all__ = ["ARCHITECTURES", "STRIDE", "HeadSizes", "Network", "build_network"]
