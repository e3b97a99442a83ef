"""The classes of a run: the names that a model has, and which of them are tracked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fairmot.core.class_names import is_person
from fairmot.core.errors import ConfigError, suggestion
from fairmot.core.records import Detections
from fairmot.core.text import one_line

_NAMED = 100  # names in a message; COCO has 80
_SHOWN = 40  # characters of a name, in messages


@dataclass(frozen=True)
class TrackedClasses:
    """The names of a model's classes and the ids of those that are tracked.

    Attributes:
        names: of all classes, by id.
        ids: of the classes that are tracked, rising; an id is an index into `names`.
    """

    names: tuple[str, ...] = ("person",)
    ids: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, names: Sequence[str], wanted: Iterable[str] = ()) -> TrackedClasses:
        """Return the classes of a model that are called as wanted; all of them if nothing is.

        Args:
            names: of the model's classes, by id.
            wanted: names; upper and lower case are the same.

        Raises:
            ConfigError: if the model has no class of a name.
        """
        folded = [name.casefold() for name in names]
        chosen = [name.casefold() for name in wanted]
        for name in chosen:
            if name not in folded:
                raise ConfigError(
                    f'The model has no class "{one_line(name, _SHOWN)}"; choose from {_listed(names)}.'
                    f"{suggestion(name, names)}"
                )
        ids = tuple(id_ for id_, name in enumerate(folded) if not chosen or name in chosen)
        return cls(tuple(names), ids)

    @property
    def several(self) -> bool:
        """Whether more than one class is tracked, so that results state the class."""
        return len(self.ids) > 1

    @property
    def shown_names(self) -> tuple[str, ...]:
        """The names by id where results state the class, else none."""
        return self.names if self.several else ()

    @property
    def person_ids(self) -> tuple[int, ...]:
        """Ids of the tracked classes that are people."""
        return tuple(id_ for id_ in self.ids if is_person(self.names[id_]))

    def only(self, detections: Detections) -> Detections:
        """Return the detections of the tracked classes; the record itself where all classes are tracked."""
        if len(self.ids) == len(self.names):
            return detections
        return detections[np.isin(detections.class_ids, self.ids)]


PEOPLE = TrackedClasses()
"""The classes of a model of people alone."""


def class_name(names: Sequence[str], id_: int) -> str:
    """Return the name of a class, `class_ID` where the names do not reach so far."""
    return names[id_] if 0 <= id_ < len(names) else f"class_{id_}"


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(one_line(name, _SHOWN) for name in islice(names, _NAMED))
    return f"{listed} and {len(names) - _NAMED} more" if len(names) > _NAMED else listed
