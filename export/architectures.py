"""The names of the architectures and the sizes they take, without PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

from fairmot.core.errors import ConfigError, suggestion

Architecture = Literal[
    "dla_34",
    "dla_34_lite",
    "dlav0_34",
    "resdcn_18",
    "resdcn_34",
    "resdcn_50",
    "resdcn_101",
    "resfpndcn_34",
    "res_18",
]
"""A name in `fairmot.export.networks.ARCHITECTURES`."""

Boxes = Literal["shared", "per-class"]
"""One box of a cell for all classes, or one for each (CenterNet's `cat_spec_wh`)."""

SIZE_MULTIPLE = 32  # the deepest maps have stride 32


def require_architecture(architecture: str) -> None:
    """Check a name.

    Raises:
        ConfigError: if there is no such architecture.
    """
    names = get_args(Architecture)
    if architecture not in names:
        raise ConfigError(
            f'There is no architecture "{architecture}"; choose one of {", ".join(names)}.'
            + suggestion(architecture, names)
        )
