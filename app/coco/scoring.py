"""Average precision and recall by pycocotools' COCOeval."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fairmot.app.coco.annotations import Annotations


@dataclass(frozen=True)
class CocoScores:
    """The result of COCOeval.

    Attributes:
        stats: its twelve numbers, the first of which is AP; -1 where there is nothing to find.
        lines: the same as it prints them.
    """

    stats: tuple[float, ...]
    lines: tuple[str, ...]


def score(annotations: Annotations, results: Sequence[Mapping[str, Any]], category_ids: Sequence[int]) -> CocoScores:
    """Return the scores of boxes, over all images of a file and some of its categories.

    Args:
        annotations: what there is to find.
        results: as `results.json` has them; may be empty.
        category_ids: of the categories that are evaluated.
    """
    objects = [
        {
            "id": number,  # from 1: with 0 a match counts as none
            "image_id": each.image_id,
            "category_id": each.category_id,
            "bbox": list(each.tlwh),
            "area": each.area,
            "iscrowd": int(each.is_crowd),
        }
        for number, each in enumerate(annotations.objects, 1)
    ]
    with redirect_stdout(io.StringIO()) as printed:
        truth = _indexed(annotations, objects)
        # `loadRes` fails on results without any.
        found = truth.loadRes([dict(each) for each in results]) if results else _indexed(annotations, [])
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.catIds = sorted(category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        printed.truncate(0)
        printed.seek(0)
        evaluation.summarize()
    return CocoScores(tuple(float(each) for each in evaluation.stats), tuple(printed.getvalue().splitlines()))


def _indexed(annotations: Annotations, objects: list[dict[str, Any]]) -> Any:
    coco = COCO()
    coco.dataset = {
        "info": {},  # which pycocotools 2.0.9 reads
        "images": [{"id": image.id} for image in annotations.images],
        "categories": [{"id": id_, "name": name} for name, id_ in annotations.categories.items()],
        "annotations": objects,
    }
    coco.createIndex()
    return coco
