"""Detections as COCO's results (`results.json`), and the classes of a model matched to categories by their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairmot.app.coco.annotations import Annotations, listed
from fairmot.core.console import print_warning
from fairmot.core.errors import ConfigError, EngineError
from fairmot.core.files import write_whole
from fairmot.core.records import Detections
from fairmot.engine.model import check_class_names

_DECIMALS = 2  # of boxes and scores: CenterNet, `convert_eval_format` in `src/lib/datasets/dataset/coco.py`


def match_classes(names: Sequence[str], given: Sequence[str], annotations: Annotations) -> dict[int, int]:
    """Return the category id of each class of a model that an annotation file has.

    Classes and categories without a counterpart are named in a warning each, and not evaluated.

    Args:
        names: of the model's classes.
        given: other names for them, in the same order; may be empty.
        annotations: of the file.

    Raises:
        ConfigError: if the names are invalid or of another number, or none of them is that of a category.
    """
    if given:
        wrong = check_class_names(given)
        if wrong is not None:
            raise ConfigError(f"classes should be {wrong}.")
        if len(given) != len(names):
            raise ConfigError(f"The model has {len(names)} classes but --classes names {len(given)}.")
    used, known = list(given or names), annotations.categories
    found = {number: known[name] for number, name in enumerate(used) if name in known}
    if not found:
        raise ConfigError(
            f"No class of the model ({listed(used)}) is a category of {annotations.path} ({listed(list(known))}): give "
            "--classes with the names of the file in the order of the model's classes."
        )
    strange = [name for name in used if name not in known]
    if strange:
        print_warning(f"{annotations.path} has no category for {listed(strange)}: what is found of them is left out.")
    absent = [name for name in known if name not in used]
    if absent:
        print_warning(f"The model has no class for the categories {listed(absent)}: they are not evaluated.")
    return found


def results_of(image_id: int, detections: Detections, categories: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return the detections of an image as COCO's results, in their order.

    Args:
        image_id: of the image.
        detections: boxes in its pixels.
        categories: category ids by class id; other classes are left out.

    Raises:
        EngineError: if a box or score is not finite.
    """
    if not (np.isfinite(detections.tlbr).all() and np.isfinite(detections.scores).all()):
        raise EngineError(f"Boxes of image {image_id} are not finite: run the model with another --engine.")
    tlwh = np.concatenate([detections.tlbr[:, :2], detections.tlbr[:, 2:] - detections.tlbr[:, :2]], axis=1)
    rows = zip(detections.class_ids.tolist(), tlwh.tolist(), detections.scores.tolist(), strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": categories[class_id],
            "bbox": [round(number, _DECIMALS) for number in box],
            "score": round(score, _DECIMALS),
        }
        for class_id, box, score in rows
        if class_id in categories
    ]


def write_results(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write results as COCO's server and tools read them.

    Raises:
        OutputError: if the file cannot be written.
    """
    write_whole(path, json.dumps(list(results), allow_nan=False).encode())
