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


ARCHITECTURES: dict[str, _Architecture] = {
    "dla_34": _Architecture(DLASeg),
    # Half the channels, a quarter of the arithmetic: for machines without a GPU.
    "dla_34_lite": _Architecture(lambda heads: _dla(heads, 0.5), HeadSizes(embedding=64, hidden=64)),
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
