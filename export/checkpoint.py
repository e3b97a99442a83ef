"""Strict loading of FairMOT checkpoints: every key must match, else the error names those that do not."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairmot.core.errors import ModelError
from fairmot.core.text import one_line
from fairmot.engine.model import check_class_names
from fairmot.export.finite import require_finite_weights
from fairmot.export.networks import ARCHITECTURES, HeadSizes, Network, build_network

log = logging.getLogger(__name__)

_PARALLEL = "module."  # put before every key by torch's DataParallel
_CLASSIFIER = "base.fc."  # ImageNet classifier of the backbone, present in official files, never used
_NAMED = 6  # keys that an error lists by name
_SHOWN = 200  # characters of each
_MOST_CHANNELS = 10_000  # of a head, so that no file decides how much memory the network takes


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"There is no checkpoint {path}.")
    try:
        with path.open("rb") as file:
            is_archive = file.read(2) == b"PK"  # as torch distinguishes its two formats
        if is_archive:
            _check_unpacked(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are no pickle the safe loader raises anything
        raise ModelError(
            f"{path} is not a checkpoint that torch can load safely: save it again as a state dict."
        ) from error


def _check_unpacked(path: Path) -> None:
    """Raise `ValueError` if an archive grows when it is unpacked: torch does not compress, zip bombs do."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"it would take {unpacked} bytes")


def read_class_names(path: Path) -> list[str]:
    """Return the class names that training wrote into a checkpoint; an empty list for other checkpoints.

    Raises:
        ModelError: if the file is missing or unreadable, or the names are invalid.
    """
    content = _read(path)
    names = content.get("class_names", []) if isinstance(content, Mapping) else []
    wrong = "a list" if not isinstance(names, list | tuple) else check_class_names(names) if names else None
    if wrong is not None:
        raise ModelError(f"{path}: its class_names should be {wrong}: name the classes with --classes.")
    return list(names)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint: `{epoch, state_dict, ...}` or a bare state dict.

    A `module.` prefix of every key is removed and the unused classifier `base.fc.*` is dropped.
    The file is loaded with `weights_only=True`, so nothing in it is executed.

    Raises:
        ModelError: if the file is missing, unreadable or holds no weights.
    """
    content = _read(path)
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not content or not all(map(_is_plain, content.values())):
        raise ModelError(f"{path} holds no weights: it needs a state dict, or a dict with the key state_dict.")
    weights: dict[str, Tensor] = {str(key): value for key, value in content.items()}
    if all(key.startswith(_PARALLEL) for key in weights):
        weights = {key.removeprefix(_PARALLEL): value for key, value in weights.items()}
    dropped = [key for key in weights if key.startswith(_CLASSIFIER)]
    if dropped:
        log.info("dropped %s: the backbone's ImageNet classifier, which no output uses", ", ".join(dropped))
    return {key: value for key, value in weights.items() if key not in dropped}


def _is_plain(value: object) -> bool:
    """Return whether a value is a dense tensor of real numbers in memory."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_nested or value.is_quantized or value.is_complex())
    )


def head_sizes(weights: Mapping[str, Tensor]) -> HeadSizes:
    """Derive the sizes of the heads from the shapes of their weights.

    Raises:
        ModelError: if a head is missing or boxes are not given by four distances.
    """
    needed = ("hm.0.weight", "hm.2.weight", "wh.0.weight", "wh.2.weight", "reg.2.weight")
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ModelError(f"The checkpoint is not FairMOT's: it lacks {', '.join(missing)}.")
    for key in (*needed, "id.2.weight"):
        if key in weights and (weights[key].dim() != 4 or not 0 < weights[key].shape[0] <= _MOST_CHANNELS):
            raise ModelError(
                f"The checkpoint is not FairMOT's: {key} has the shape {tuple(weights[key].shape)}, not four sizes "
                f"that begin with 1 to {_MOST_CHANNELS} channels."
            )
    hidden, box_hidden = (weights[f"{head}.0.weight"].shape[0] for head in ("hm", "wh"))
    sizes = HeadSizes(
        classes=weights["hm.2.weight"].shape[0],
        box=weights["wh.2.weight"].shape[0],
        embedding=weights["id.2.weight"].shape[0] if "id.2.weight" in weights else 0,
        hidden=hidden,
        box_hidden=0 if box_hidden == hidden else box_hidden,
    )
    if sizes.box != 4:
        raise ModelError(
            f"The checkpoint's wh head has {sizes.box} channels; only boxes as left, top, right, bottom (4) can be "
            "exported, FairMOT's default (train with --ltrb True)."
        )
    return sizes


def _differences(network: Network, weights: Mapping[str, Tensor]) -> list[str]:
    expected = network.state_dict()
    # Checkpoints from before PyTorch 0.4.1 lack the counters that inference never reads.
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in expected]
    misshapen = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in weights and weights[key].shape != expected[key].shape
    ]
    groups = (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", misshapen))
    return [f"{len(keys)} {kind}: {_list(keys)}" for kind, keys in groups if keys]


def _list(keys: list[str]) -> str:
    rest = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(one_line(key, _SHOWN) for key in keys[:_NAMED]) + rest


def matching_architectures(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the architectures whose keys and shapes are exactly those of `weights`."""
    sizes = head_sizes(weights)
    with torch.device("meta"):
        return [name for name in ARCHITECTURES if not _differences(build_network(name, sizes), weights)]


def load_network(path: Path, architecture: str | None = None) -> tuple[str, Network]:
    """Build the network of a checkpoint and load its weights, ready for inference.

    Args:
        path: the checkpoint.
        architecture: a name in `ARCHITECTURES`; None means recognize it by keys and shapes.

    Returns:
        The architecture's name and the network in evaluation mode.

    Raises:
        ConfigError: if there is no such architecture.
        ModelError: if the file cannot be read, any key is missing, unexpected or misshapen, or a weight is not finite.
    """
    weights = read_state_dict(path)
    if architecture is None:
        fitting = matching_architectures(weights)
        if not fitting:
            raise ModelError(f"{path} fits no known architecture; name the nearest with --arch to see what differs.")
        architecture = fitting[0]
    network = build_network(architecture, head_sizes(weights))
    differences = _differences(network, weights)
    if differences:
        fitting = matching_architectures(weights)
        hint = f" It fits {' or '.join(fitting)}: use --arch {fitting[0]}." if fitting else ""
        raise ModelError(f"{path} does not fit {architecture}; keys {'; '.join(differences)}.{hint}")
    complete: dict[str, Any] = network.state_dict() | weights
    network.load_state_dict(complete)
    require_finite_weights(network, path)
    return architecture, network.eval()
