"""Strict loading of FairMOT and CenterNet checkpoints: every key must match, else the error names the others."""

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
_HEADS = ("hm", "wh", "reg", "id")
# CenterNet's heads for human poses, boxes in 3D and extreme points (`opts.py`), which are not exported.
_OTHER_HEADS = {"hps", "hm_hp", "hp_offset", "dep", "rot", "dim", "hm_t", "hm_l", "hm_b", "hm_r", "hm_c"}
_HOURGLASS = "kps."  # its stacks, `large_hourglass.py`


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


def head_sizes(weights: Mapping[str, Tensor], class_boxes: bool | None = None) -> HeadSizes:
    """Derive the sizes of the heads from the shapes of their weights.

    Args:
        weights: of FairMOT or CenterNet: `hm` and `wh`, and `reg` and `id` if it has them.
        class_boxes: whether every class has a box of its own (CenterNet's `cat_spec_wh`); None means by the channels
            of `wh`: 2 or 4 for one box, as many for each class. Four channels of two classes are one box of FairMOT if
            there is `id`.

    Raises:
        ModelError: if a head is missing, the network is of another kind, or the boxes are not of any known form.
    """
    _require_kind(weights)
    layers = {head: _layers(weights, head) for head in _HEADS}
    channels = {head: weights[layers[head][-1]].shape[0] if layers[head] else 0 for head in _HEADS}
    hidden, box_hidden = (weights[layers[head][0]].shape[0] if len(layers[head]) > 1 else 0 for head in ("hm", "wh"))
    classes, box = channels["hm"], channels["wh"]
    if class_boxes is None:
        if (classes, box) == (2, 4) and not channels["id"]:
            raise ModelError(
                "The checkpoint's wh head has 4 channels for 2 classes, which is one box as left, top, right, bottom "
                "or two as width, height: give --boxes shared or --boxes per-class."
            )
        class_boxes = box not in (2, 4)
    sets = classes if class_boxes else 1
    if box not in (2 * sets, 4 * sets):
        raise ModelError(
            f"The checkpoint's wh head has {box} channels for {classes} class{'' if classes == 1 else 'es'}; boxes "
            "have 2 (width, height) or 4 (left, top, right, bottom), or as many a class: check the file and --boxes."
        )
    return HeadSizes(
        classes=classes,
        box=box,
        embedding=channels["id"],
        hidden=hidden,
        box_hidden=0 if box_hidden == hidden else box_hidden,
        offset=channels["reg"] > 0,
        class_boxes=class_boxes and classes > 1,
    )


def _require_kind(weights: Mapping[str, Tensor]) -> None:
    """Raise `ModelError` for networks of CenterNet that cannot be exported."""
    if any(key.startswith(_HOURGLASS) for key in weights):
        raise ModelError(
            f"The checkpoint is an hourglass network; supported are {', '.join(ARCHITECTURES)}: give one of these."
        )
    others = sorted(_OTHER_HEADS.intersection(key.partition(".")[0] for key in weights))
    if others:
        raise ModelError(
            f"The checkpoint has the heads {', '.join(others)}, which are not for boxes; supported are "
            f"{', '.join(_HEADS)}: give a checkpoint that was trained for boxes (CenterNet's task ctdet)."
        )


def _layers(weights: Mapping[str, Tensor], head: str) -> list[str]:
    """Return the keys of the weights of a head's one or two convolutions, none if there is no such head.

    Raises:
        ModelError: if `hm` or `wh` is missing, or a weight does not have four sizes of which the first is in bounds.
    """
    single, pair = f"{head}.weight", [f"{head}.0.weight", f"{head}.2.weight"]
    keys = [single] if single in weights else pair
    missing = [key for key in keys if key not in weights]
    if missing == pair and head in ("reg", "id"):
        return []
    if missing:
        raise ModelError(f"The checkpoint is neither FairMOT's nor CenterNet's: it lacks {', '.join(missing)}.")
    for key in keys:
        shape = tuple(weights[key].shape)
        if len(shape) != 4 or not 0 < shape[0] <= _MOST_CHANNELS:
            raise ModelError(
                f"The checkpoint is neither FairMOT's nor CenterNet's: {key} has the shape {shape}, not four sizes "
                f"that begin with 1 to {_MOST_CHANNELS} channels."
            )
    return keys


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


def matching_architectures(weights: Mapping[str, Tensor], class_boxes: bool | None = None) -> list[str]:
    """Return the architectures whose keys and shapes are exactly those of `weights`.

    Args:
        weights: a state dict.
        class_boxes: see `head_sizes`.

    Raises:
        ModelError: if the heads cannot be read.
    """
    sizes = head_sizes(weights, class_boxes)
    with torch.device("meta"):
        return [name for name in ARCHITECTURES if not _differences(build_network(name, sizes), weights)]


def load_network(
    path: Path, architecture: str | None = None, *, class_boxes: bool | None = None
) -> tuple[str, Network]:
    """Build the network of a checkpoint and load its weights, ready for inference.

    Args:
        path: the checkpoint.
        architecture: a name in `ARCHITECTURES`; None means recognize it by keys and shapes.
        class_boxes: see `head_sizes`.

    Returns:
        The architecture's name and the network in evaluation mode.

    Raises:
        ConfigError: if there is no such architecture.
        ModelError: if the file cannot be read, any key is missing, unexpected or misshapen, or a weight is not finite.
    """
    weights = read_state_dict(path)
    if architecture is None:
        fitting = matching_architectures(weights, class_boxes)
        if not fitting:
            raise ModelError(f"{path} fits no known architecture; name the nearest with --arch to see what differs.")
        architecture = fitting[0]
    network = build_network(architecture, head_sizes(weights, class_boxes))
    differences = _differences(network, weights)
    if differences:
        fitting = matching_architectures(weights, class_boxes)
        hint = f" It fits {' or '.join(fitting)}: use --arch {fitting[0]}." if fitting else ""
        raise ModelError(f"{path} does not fit {architecture}; keys {'; '.join(differences)}.{hint}")
    complete: dict[str, Any] = network.state_dict() | weights
    network.load_state_dict(complete)
    require_finite_weights(network, path)
    return architecture, network.eval()
