"""Names of the classes of the common data sets, in the order in which models count them."""

from __future__ import annotations

VOC_NAMES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor".split()
)
"""The 20 classes of PASCAL VOC, as CenterNet orders them (`datasets/dataset/pascal.py`)."""

COCO_NAMES = tuple(
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush".split(",")
)
"""The 80 classes of COCO, as its instance annotations order them."""

COCO_CATEGORY_IDS = tuple(id_ for id_ in range(1, 91) if id_ not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
"""COCO's category id of each of its 80 classes."""

_PEOPLE = {"person", "people", "pedestrian"}


def is_person(name: str) -> bool:
    """Return whether a class is that of people: person (COCO, VOC), pedestrian (MOTChallenge, VisDrone) or people."""
    return name.casefold() in _PEOPLE


def default_class_names(count: int) -> tuple[str, ...]:
    """Return the names of so many classes where nothing names them: person, VOC's, COCO's, else class_0, class_1."""
    known = {1: ("person",), len(VOC_NAMES): VOC_NAMES, len(COCO_NAMES): COCO_NAMES}
    return known.get(count) or tuple(f"class_{i}" for i in range(count))
