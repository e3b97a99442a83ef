"""Settings of a training run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from fairmot.core.errors import ConfigError
from fairmot.core.ranges import require, require_positive
from fairmot.export.architectures import SIZE_MULTIPLE, require_architecture
from fairmot.training.augment_settings import AugmentSettings, CrowdSettings

MADE = {"crowd": "crowds", "pasted": "pasted", "scene": "scenes", "market1501": "sheets"}
"""Sets that are made, and which setting counts their images; every other set is a folder."""

DEFAULT_OUTPUT = Path("runs/train")
"""The default output folder of `fairmot train`."""

_LEAST_LENGTH = 64  # px; on less BatchNorm would see single cells at stride 32


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run.

    Attributes:
        architecture: a name of `fairmot.export.networks.ARCHITECTURES`.
        size: width and height of the training images in pixels, multiples of 32.
        sets: share of the drawn tiles by set. A set is a folder of the data with `images` and `labels_with_ids`, or
            `crowd` (composed from cut-outs), `pasted` (frames of the other sets with cut-outs among their people),
            `scene` (rendered), `market1501` (sheets of identity crops). Sets that are not named are not made.
        classes: label numbers that count as each class, by its name; labels of other numbers are left out. Identities
            are numbered over all classes of a set. Composed, pasted, rendered and cropped people are of the class
            `person`.
        labeled: the classes that are labeled in a set, for sets where not all of them are. An object of another class
            may be anywhere there, so the heatmaps of those classes get no loss in such a set, and no validation.
        held_out: images that are validated on and not trained on: `set/beginning` of their names up to the end of a
            word or number (`street/cam1`), or a pattern (`street/cam1_*`).
        steps: optimizer steps.
        batch: images per step, over all processes.
        learning_rate: peak of the cosine schedule (AdamW).
        weight_decay: of all weights with more than one dimension.
        warmup: steps of linear warm-up.
        ema: decay of the averaged weights.
        crowds: images composed from cut-outs.
        pasted: frames with pasted people.
        pasted_people: most people pasted into one frame.
        scenes: rendered scenes, twelve frames each.
        sheets: sheets of identity crops.
        side: longest side of the stored images in pixels; each takes 4 side^2 bytes of the GPU's memory.
        workers: processes that decode and compose, over all training processes.
        seed: of all random numbers.
        augment: ranges of the augmentation.
        crowd: settings of the people pasted over images.

    Raises:
        ConfigError: if a value is out of its range or there is no such architecture.
    """

    architecture: str = "dla_34_lite"
    size: tuple[int, int] = (576, 320)
    sets: dict[str, float] = field(default_factory=dict)
    classes: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"person": (0,)})
    labeled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    steps: int = 6000
    batch: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warmup: int = 400
    ema: float = 0.9995
    crowds: int = 3000
    pasted: int = 1500
    pasted_people: int = 8
    scenes: int = 80
    sheets: int = 150
    side: int = 800
    workers: int = os.cpu_count() or 1
    seed: int = 1
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    crowd: CrowdSettings = field(default_factory=CrowdSettings)

    def __post_init__(self) -> None:
        prefix = "settings."
        require_architecture(self.architecture)
        if any(length < _LEAST_LENGTH or length % SIZE_MULTIPLE for length in self.size):
            wanted = f"multiples of {SIZE_MULTIPLE} and at least {_LEAST_LENGTH}"
            raise ConfigError(f"settings.size must be width and height, {wanted}, not {list(self.size)}.")
        for name, share in self.sets.items():
            if not 0 <= share < math.inf:
                raise ConfigError(f"settings.sets must give {name} a share of at least 0, not {share}.")
        if self.sets and not any(self.sets.values()):
            raise ConfigError("settings.sets must give at least one set a share above 0.")
        self._check_classes()
        self._check_labeled()
        for made, name in MADE.items():
            require(self, prefix, name, 1 if made in self.sets else 0)
        require(self, prefix, "steps batch pasted_people workers", 1)
        require(self, prefix, "warmup weight_decay")
        require(self, prefix, "side", _LEAST_LENGTH)
        require(self, prefix, "ema", 0, 1)
        require(self, prefix, "seed", 0, 2**32 - 1)
        require_positive(self, prefix, "learning_rate")

    def _check_classes(self) -> None:
        if not self.classes or not all(self.classes.values()):
            raise ConfigError("Name at least one class, each with its label numbers, such as classes: {person: [0]}.")
        made = [name for name in self.sets if name in MADE]
        if made and "person" not in self.classes:
            raise ConfigError(f"The set {made[0]} shows people: add the class person to classes, or leave the set out.")
        known: set[int] = set()
        for name in self.class_names:
            for number in self.classes[name]:
                if number < 0 or number in known:
                    raise ConfigError(
                        f"Label number {number} of the class {name} must be 0 or more and count only once."
                    )
                known.add(number)

    def _check_labeled(self) -> None:
        for group, names in self.labeled.items():
            if group not in self.sets or group in MADE:
                folders = ", ".join(name for name in self.sets if name not in MADE)
                raise ConfigError(f"settings.labeled must name folders of settings.sets ({folders}), not {group}.")
            for name in names:
                if name not in self.classes:
                    raise ConfigError(
                        f"settings.labeled must give {group} names of settings.classes "
                        f"({', '.join(self.class_names)}), not {name}."
                    )

    def unlabeled(self, group: str) -> list[int]:
        """Return the heatmap's channels of the classes that are not labeled in a set."""
        names = self.labeled.get(group, self.class_names)
        return [channel for channel, name in enumerate(self.class_names) if name not in names]

    @property
    def channels(self) -> dict[int, int]:
        """The heatmap's channel by label number."""
        return {number: channel for channel, name in enumerate(self.class_names) for number in self.classes[name]}

    @property
    def class_names(self) -> list[str]:
        """Names of the heatmap's channels: `person`, if there is one, then the others by name."""
        return sorted(self.classes, key=lambda name: (name != "person", name))
