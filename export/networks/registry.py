"""The registry of architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fairmot.export.architectures import require_architecture
from fairmot.export.networks.dla import DLASeg, DLASegV0
from fairmot.export.networks.network import HeadSizes, Network
from fairmot.export.networks.resnet import ResDCN, ResFPNDCN, ResPlain


@dataclass(frozen=True)
class _Architecture:
    build: Callable[[HeadSizes], Network]
    heads: HeadSizes = field(default_factory=HeadSizes)


def _lite(heads: HeadSizes) -> Network:
    """Return the bundled network: a DLA-34 for CPUs with a quarter of FairMOT's parameters.

    With all channels of FairMOT's halved, the deformable layers at stride 4 took most of the neck's time on a CPU:
    sampling makes such a layer five times as slow as a plain 3x3 convolution. So only six of the 16 are left, on maps
    of stride 8 and more, and the stem halves the resolution at once. The time saved goes into 64 channels at stride 4
    and a skip from stride 2, both for small people: trained for 2500 steps like the halved network, average precision
    on held-out images rose from 0.682 to 0.714, for people below 40 px from 0.304 to 0.353.
    """
    plain = ("dla_up.ida_2", "dla_up.ida_1.node", "ida_up.node")  # the nodes at stride 8 as well
    return DLASeg(heads, (16, 32, 64, 64, 128, 224), stem_stride=2, plain=plain, skip=True)


ARCHITECTURES: dict[str, _Architecture] = {
    "dla_34": _Architecture(DLASeg),
    "dla_34_lite": _Architecture(_lite, HeadSizes(embedding=64, hidden=64, box_hidden=32)),
    "dlav0_34": _Architecture(DLASegV0),
    "resdcn_18": _Architecture(lambda heads: ResDCN(heads, 18)),
    "resdcn_34": _Architecture(lambda heads: ResDCN(heads, 34)),
    "resdcn_50": _Architecture(lambda heads: ResDCN(heads, 50)),
    "resdcn_101": _Architecture(lambda heads: ResDCN(heads, 101)),
    "resfpndcn_34": _Architecture(lambda heads: ResFPNDCN(heads, 34)),
    "res_18": _Architecture(lambda heads: ResPlain(heads, 18)),
}


def build_network(architecture: str, heads: HeadSizes | None = None, *, classes: int = 1) -> Network:
    """Build a network with fresh weights.

    Args:
        architecture: a name in `ARCHITECTURES`.
        heads: sizes of the heads; None means the architecture's own, for so many `classes`.
        classes: channels of the heatmap, if `heads` is None.

    Raises:
        ConfigError: if there is no such architecture.
    """
    require_architecture(architecture)
    entry = ARCHITECTURES[architecture]
    return entry.build(heads or replace(entry.heads, classes=classes))
