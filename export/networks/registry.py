"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import ConfigError, suggestion
from export.networks.dla import DLA34_CHANNELS, DLASeg, DLASegV0
from export.networks.network import HeadSizes, Network
from export.networks.resnet import ResDCN, ResFPNDCN, ResPlain


@dataclass(frozen=True)
class _Architecture:
    build: Callable[[HeadSizes], Network]
    heads: HeadSizes = field(default_factory=HeadSizes)


def _dla(heads: HeadSizes, width: float) -> Network:
    return DLASeg(heads, [round(channels * width) for channels in DLA34_CHANNELS])


_LITE_HEADS = HeadSizes(embedding=64, hidden=64, box_hidden=32)

# Candidates to follow dla_34_lite at no more CPU time than about its own; those that lose are to be removed again.
# ONNX Runtime takes five times as long for a 3x3 DCNv2 layer as for a plain one, so it stays where maps are small and
# in the last node. What that saves goes into the levels that small people are seen in.
_LITE_VARIANTS: dict[str, _Architecture] = {
    "dla_34_lite_skip": _Architecture(
        lambda heads: DLASeg(heads, (8, 16, 32, 64, 128, 256), skip=True),
        _LITE_HEADS,
    ),
    "dla_34_lite_fast": _Architecture(
        lambda heads: DLASeg(
            heads, (16, 32, 32, 64, 128, 256), stem_stride=2, plain=("dla_up.ida_2", "ida_up.node_1"), skip=True
        ),
        _LITE_HEADS,
    ),
    "dla_34_lite_wide48": _Architecture(
        lambda heads: DLASeg(
            heads, (16, 32, 48, 80, 128, 224), stem_stride=2, plain=("dla_up.ida_2", "ida_up.node_1"), skip=True
        ),
        _LITE_HEADS,
    ),
    # Wider still, without DCNv2 at stride 4.
    "dla_34_lite_wide64": _Architecture(
        lambda heads: DLASeg(
            heads,
            (16, 32, 64, 64, 128, 224),
            stem_stride=2,
            plain=("dla_up.ida_2", "dla_up.ida_1.node", "ida_up.node"),
            skip=True,
        ),
        _LITE_HEADS,
    ),
}

ARCHITECTURES: dict[str, _Architecture] = {
    "dla_34": _Architecture(DLASeg),
    # Half the channels, a quarter of the arithmetic: for machines without a GPU.
    "dla_34_lite": _Architecture(lambda heads: _dla(heads, 0.5), HeadSizes(embedding=64, hidden=64)),
    **_LITE_VARIANTS,
    "dlav0_34": _Architecture(DLASegV0),
    "resdcn_18": _Architecture(lambda heads: ResDCN(heads, 18)),
    "resdcn_34": _Architecture(lambda heads: ResDCN(heads, 34)),
    "resdcn_50": _Architecture(lambda heads: ResDCN(heads, 50)),
    "resdcn_101": _Architecture(lambda heads: ResDCN(heads, 101)),
    "resfpndcn_34": _Architecture(lambda heads: ResFPNDCN(heads, 34)),
    "res_18": _Architecture(lambda heads: ResPlain(heads, 18)),
}


def build_network(architecture: str, heads: HeadSizes | None = None) -> Network:
    """Build a network with fresh weights.

    Args:
        architecture: a name in `ARCHITECTURES`.
        heads: sizes of the heads; None means the architecture's own.

    Raises:
        ConfigError: if there is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f'There is no architecture "{architecture}"; choose one of {", ".join(ARCHITECTURES)}.'
            + suggestion(architecture, ARCHITECTURES)
        )
    entry = ARCHITECTURES[architecture]
    return entry.build(heads or entry.heads)
