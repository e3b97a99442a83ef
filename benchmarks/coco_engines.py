"""Average precision of one network through PyTorch, ONNX Runtime and TensorRT, on a folder of labeled training images.

    python -m benchmarks.coco_engines model.pth model.onnx --labels DIR/street --classes person:0,car:2

The labels become COCO annotations: regions to ignore are crowds of every class. Ends with 1 if two engines are more
than 0.3 points of AP apart.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fairmot.cli.main import main as fairmot

MOST_APART = 0.003
_SUFFIXES = (".jpg", ".jpeg", ".png")


def annotations_of(folder: Path, classes: Mapping[str, int]) -> dict[str, Any]:
    """Return COCO annotations of a folder with `images` and `labels_with_ids` or `labels`.

    Args:
        folder: lines of its label files are `class id cx cy w h` or `class cx cy w h`, relative to the image; class -1
            is a region to ignore.
        classes: label number of each class; other labels are left out.
    """
    labels = folder / "labels_with_ids"
    labels = labels if labels.is_dir() else folder / "labels"
    categories = {number: position for position, number in enumerate(classes.values(), 1)}
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for path in sorted(each for each in (folder / "images").rglob("*") if each.suffix.lower() in _SUFFIXES):
        name = path.relative_to(folder / "images")
        image = cv2.imread(str(path))
        if image is None:
            raise SystemExit(f"{path} is not an image that OpenCV can read.")
        height, width = image.shape[:2]
        images.append({"id": len(images), "file_name": name.as_posix(), "width": width, "height": height})
        label = (labels / name).with_suffix(".txt")
        for line in label.read_text().splitlines() if label.is_file() else []:
            number, *_, center_x, center_y, box_width, box_height = map(float, line.split())
            scale = np.array([width, height, width, height])
            box = np.array([center_x - box_width / 2, center_y - box_height / 2, box_width, box_height]) * scale
            known = categories.values() if number == -1 else [categories[int(number)]] if number in categories else []
            for category in known:
                boxes.append(
                    {
                        "image_id": images[-1]["id"],
                        "category_id": category,
                        "bbox": box.round(3).tolist(),
                        "iscrowd": int(number == -1),
                    }
                )
    named = [{"id": position, "name": name} for position, name in enumerate(classes, 1)]
    return {"images": images, "annotations": boxes, "categories": named}


def precision_of(model: Path, engine: str, annotations: Path, images: Path, more: list[str]) -> float:
    """Return the AP of a model, after printing what `fairmot evaluate-detections` prints."""
    words = ["--coco", str(annotations), "--images", str(images), "-o", str(annotations.with_name(f"{engine}.json"))]
    with redirect_stdout(io.StringIO()) as printed:
        code = fairmot(["evaluate-detections", str(model), "--engine", engine, *words, *more])
    print(f"--engine {engine}\n{printed.getvalue()}", flush=True)
    if code:
        raise SystemExit(code)
    line = next(line for line in printed.getvalue().splitlines() if line.startswith(" Average Precision"))
    return float(line.rpartition("=")[2])


def main(arguments: list[str] | None = None) -> int:
    """Run the engines and return 0 if they agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("model", type=Path, help="its export")
    parser.add_argument("--labels", type=Path, required=True, help="folder of images and labels")
    parser.add_argument("--classes", required=True, help="names and label numbers, as in person:0,car:2")
    parser.add_argument("--engines", default="torch,onnxruntime,tensorrt")
    parser.add_argument("more", nargs="*", help="further options of `fairmot evaluate-detections`, after --")
    given = parser.parse_args(arguments)
    classes = {name: int(number) for name, _, number in (part.partition(":") for part in given.classes.split(","))}
    with tempfile.TemporaryDirectory() as folder:
        annotations = Path(folder, "annotations.json")
        annotations.write_text(json.dumps(annotations_of(given.labels, classes)))
        found = {
            engine: precision_of(
                given.checkpoint if engine == "torch" else given.model,
                *(engine, annotations, given.labels / "images"),
                given.more,
            )
            for engine in given.engines.split(",")
        }
    apart = max(found.values()) - min(found.values())
    print(*(f"{engine:<12} AP {100 * each:.1f}" for engine, each in found.items()), sep="\n")
    print(f"{100 * apart:.1f} points apart, at most {100 * MOST_APART:.1f}")
    return 0 if apart <= MOST_APART + 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main())
