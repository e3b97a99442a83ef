"""Records of the heads of a foreign network: which output holds which, and in what form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from fairmot.core.errors import ConfigError

Role = Literal["hm", "wh", "reg", "id", "landmarks", "pool"]
"""A head by its name in CenterNet and FairMOT; `pool` is the heatmap after 3x3 max-pooling."""

Arrangement = Literal["nchw", "nhwc", "cells"]
"""Order of an output's axes; `cells` is `(n, rows * columns, channels)`, row by row."""


@dataclass(frozen=True)
class Head:
    """One head of a foreign network.

    Attributes:
        role: what it holds.
        output: name of the file's output that holds it.
        arrangement: of that output.
        first: its first channel in that output.
        channels: number of its channels.
        source: tensor of the graph that holds it alone, before what is finished again.
        is_last: whether the channels of that tensor are its last axis.
        is_finished: of `hm`: whether it passed a sigmoid. Of `id`: whether the output is normalized.
        reason: why it was recognized so, for the user.
    """

    role: Role
    output: str
    arrangement: Arrangement
    first: int
    channels: int
    source: str
    is_last: bool
    is_finished: bool
    reason: str


_ALIASES: dict[str, Role] = {
    **dict.fromkeys(("hm", "heat", "heatmap", "hm_sigmoid"), "hm"),
    **dict.fromkeys(("wh", "size", "scale"), "wh"),
    **dict.fromkeys(("reg", "off", "offset"), "reg"),
    **dict.fromkeys(("id", "id_feature", "id_feat", "reid", "embedding"), "id"),
    **dict.fromkeys(("landmarks", "landmark", "lm", "lms"), "landmarks"),
    **dict.fromkeys(("pool", "hm_pool", "hmax", "pool_hm"), "pool"),
}


def role_of_name(name: str) -> Role | None:
    """Return the head that an output's name stands for, if it does for any."""
    return _ALIASES.get(name.casefold())


def read_assignment(words: tuple[str, ...]) -> dict[str, Role]:
    """Read the option `--outputs`: words as in `hm=537`.

    Returns:
        The head by name of the output; empty if nothing is assigned.

    Raises:
        ConfigError: if a word is something else, a head or an output is named twice, or hm or wh is missing.
    """
    found: dict[str, Role] = {}
    for word in words:
        role, _, output = word.partition("=")
        if role not in get_args(Role) or not output:
            raise ConfigError(
                f"outputs should assign {', '.join(get_args(Role))} to outputs of the file, as in "
                f'hm=537,wh=538,reg=539, not "{word}".'
            )
        if role in found.values() or output in found:
            raise ConfigError(f'outputs assigns "{role}" or "{output}" twice.')
        found[output] = cast(Role, role)
    missing = [role for role in ("hm", "wh") if found and role not in found.values()]
    if missing:
        raise ConfigError(f"outputs lacks {' and '.join(missing)}, as in hm=537,wh=538,reg=539.")
    return found
