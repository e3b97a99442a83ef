"""Reading of COCO annotation files (`instances_val2017.json` and files of the same form), checked before anything runs.

pycocotools indexes such a file without checks, and fails in the midst of an evaluation. Its own faults are avoided
here: it counts a detection that matches the annotation of id 0 as a false one, so annotations are numbered anew.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairmot.core.errors import SourceError
from fairmot.core.text import one_line

_LARGEST_ID = 2**53
_LARGEST_LENGTH = 1e6  # pixels; squares stay far from the largest float
_NAMED = 5  # names that an error lists


@dataclass(frozen=True)
class CocoImage:
    """An image of an annotation file.

    Attributes:
        id: number by which annotations and results name it.
        file_name: path inside the folder of images.
        size: `(width, height)` in pixels; None where the file does not state it.
    """

    id: int
    file_name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Truth:
    """An annotated object.

    Attributes:
        image_id: of its image.
        category_id: of its category.
        tlwh: left, top, width, height in pixels.
        area: in square pixels, of its outline where that is annotated; decides whether it counts as small.
        is_crowd: whether it is a group of objects, which may be found any number of times.
    """

    image_id: int
    category_id: int
    tlwh: tuple[float, float, float, float]
    area: float
    is_crowd: bool


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file.

    Attributes:
        path: of the file.
        images: in the order of the file.
        categories: category ids by name.
        objects: the annotated objects; empty for a file of images alone (`image_info_test-dev2017.json`).
    """

    path: Path
    images: tuple[CocoImage, ...]
    categories: Mapping[str, int]
    objects: tuple[Truth, ...]


def read_annotations(path: Path) -> Annotations:
    """Read and check an annotation file.

    Raises:
        SourceError: if it cannot be read, is no JSON or does not have COCO's form.
    """
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise SourceError(f'{path} does not have COCO\'s form: it should be a JSON object with a list "images".')
    images = tuple(_image(path, number, each) for number, each in enumerate(content["images"]))
    if not images:
        raise SourceError(f"{path} lists no images: give another annotation file.")
    _require_once(path, "image id", [image.id for image in images])
    _require_once(path, "image", [image.file_name for image in images])
    categories = [_category(path, number, each) for number, each in enumerate(_list(path, content, "categories"))]
    if not categories:
        raise SourceError(f"{path} lists no categories, so that no class of a model can be matched to one.")
    _require_once(path, "category id", [id_ for _, id_ in categories])
    _require_once(path, "category", [name for name, _ in categories])
    given = _list(path, content, "annotations") if "annotations" in content else []
    objects = tuple(_truth(path, number, each) for number, each in enumerate(given))
    _require_known(path, "image", [each.image_id for each in objects], {image.id for image in images})
    _require_known(path, "category", [each.category_id for each in objects], {id_ for _, id_ in categories})
    return Annotations(path, images, dict(categories), objects)


def require_images(annotations: Annotations, folder: Path) -> None:
    """Check that every image of an annotation file is there.

    Raises:
        SourceError: if there is no such folder, or images are missing.
    """
    if not folder.is_dir():
        raise SourceError(f"There is no folder {folder}: give that of the images with --images.")
    missing = [image.file_name for image in annotations.images if not (folder / image.file_name).is_file()]
    if missing:
        raise SourceError(
            f"{len(missing)} of the {len(annotations.images)} images of {annotations.path} are not in {folder}, the "
            f"first is {one_line(missing[0])}: give their folder with --images."
        )


def listed(names: Sequence[str]) -> str:
    """Return names for a message, the first few of many."""
    shown = ", ".join(one_line(name) for name in names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise SourceError(f"There is no annotation file {path}.")
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"The annotation file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # also for text in another encoding
        raise SourceError(f"{path} is not JSON, or is cut off ({one_line(error)}): copy it again.") from error


def _list(path: Path, content: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(content.get(key), list):
        raise SourceError(f'{path} does not have COCO\'s form: it has no list "{key}".')
    found: list[Any] = content[key]
    return found


def _image(path: Path, number: int, entry: Any) -> CocoImage:
    name = _value(entry, "file_name")
    width, height = _value(entry, "width"), _value(entry, "height")
    if not isinstance(name, str) or not _stays_inside(name) or not _is_id(_value(entry, "id")):
        raise _wrong(path, "image", number, "an id and a file_name inside the folder of images")
    if width is None and height is None:
        return CocoImage(entry["id"], name, None)
    if not (_is_id(width) and _is_id(height)):
        raise _wrong(path, "image", number, "width and height as whole numbers")
    return CocoImage(entry["id"], name, (width, height))


def _category(path: Path, number: int, entry: Any) -> tuple[str, int]:
    if not isinstance(_value(entry, "name"), str) or not _is_id(_value(entry, "id")):
        raise _wrong(path, "category", number, "an id and a name")
    return entry["name"], entry["id"]


def _truth(path: Path, number: int, entry: Any) -> Truth:
    box = _value(entry, "bbox")
    if not _is_id(_value(entry, "image_id")) or not _is_id(_value(entry, "category_id")):
        raise _wrong(path, "annotation", number, "image_id and category_id")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_length, box)) or min(box[2:]) < 0:
        raise _wrong(path, "annotation", number, "a bbox of four numbers, left, top, width, height")
    area = _value(entry, "area")
    if area is None:
        area = box[2] * box[3]
    elif not _is_length(area, _LARGEST_LENGTH**2):
        raise _wrong(path, "annotation", number, "its area as a number")
    is_crowd = _value(entry, "iscrowd")
    if is_crowd not in (None, 0, 1):
        raise _wrong(path, "annotation", number, "iscrowd as 0 or 1")
    tlwh = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return Truth(entry["image_id"], entry["category_id"], tlwh, float(area), bool(is_crowd))


def _value(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST_ID


def _is_length(value: Any, largest: float = _LARGEST_LENGTH) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -largest <= value <= largest and not math.isnan(value)


def _stays_inside(name: str) -> bool:
    path = Path(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def _wrong(path: Path, what: str, number: int, expected: str) -> SourceError:
    return SourceError(f"{path} does not have COCO's form: {what} {number + 1} should have {expected}.")


def _require_once(path: Path, what: str, values: Sequence[int | str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise SourceError(f"{path} lists the {what} {one_line(twice[0])} twice: give a file that lists each once.")


def _require_known(path: Path, what: str, used: Sequence[int], known: set[int]) -> None:
    unknown = [id_ for id_ in used if id_ not in known]
    if unknown:
        raise SourceError(
            f"{len(unknown)} of the {len(used)} annotations in {path} belong to no {what} that it lists, the first to "
            f"{what} id {unknown[0]}: they are of another set."
        )
