"""A case: a command line, its files, and what is known about them; and the kinds of cases by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from fuzz import mutations
from fuzz.corpus import FEW, Corpus

Command = Literal["track", "associate", "evaluate", "inspect"]

OUTPUT = "out"
Seed = TypeVar("Seed")
_WHOLE_EVERY = 8


@dataclass(frozen=True)
class Medium:
    """A file that holds frames.

    Attributes:
        reader: `video` for PyAV, `image` for OpenCV.
        path: of it.
        whole: its content before it was damaged.
    """

    reader: Literal["video", "image"]
    path: Path
    whole: bytes


@dataclass
class Case:
    """One run of a command.

    Attributes:
        kind: what is damaged, a key of `KINDS`.
        number: of the case within its kind.
        seed: of the whole session; the three decide everything.
        folder: of its own, where the command runs and all its files are.
        corpus: whole inputs.
        command: which one.
        arguments: its command line.
        notes: what was changed.
        harmless: whether the command must succeed all the same.
        truncated: whether all that happened is that the end is missing.
        media: files whose frames the command should track, to be read by other means too.
        frames: how many frames a harmless case has; None where that is not known.
        score: what MOTA a harmless evaluation must report.
        encoding: of the terminal.
    """

    kind: str
    number: int
    seed: int
    folder: Path
    corpus: Corpus
    command: Command = "track"
    arguments: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    harmless: bool = False
    truncated: bool = False
    media: list[Medium] = field(default_factory=list)
    frames: int | None = None
    score: float | None = None
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}/{self.kind}/{self.number}")

    @property
    def whole(self) -> bool:
        """True if nothing is damaged, so that the command must succeed: the first case of each kind, and some more."""
        return self.number % _WHOLE_EVERY == 0

    def pick(self, choices: Sequence[Seed]) -> Seed:
        """Choose a whole input, each in turn in the cases that damage nothing."""
        return choices[self.number // _WHOLE_EVERY % len(choices)] if self.whole else self.random.choice(choices)

    def chance(self, probability: float) -> bool:
        """Tell whether something is to happen that does so with a probability."""
        return self.random.random() < probability

    def write(self, name: str, data: bytes | str) -> Path:
        """Write an input and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
        path.chmod(0o600)
        return path

    def damage(self, data: bytes, donors: Sequence[bytes] = ()) -> bytes:
        """Return changed bytes, the same ones in a case that damages nothing."""
        if self.whole:
            self.harmless = True
            return data
        if self.chance(0.15):
            data, note = mutations.truncate(self.random, data)
            self.truncated = True
            self.notes.append(note)
            return data
        data, notes = mutations.mutate(self.random, data, donors)
        self.notes += notes
        return data

    def damage_text(self, text: str) -> bytes:
        """Return changed text; see `damage`."""
        if self.whole:
            self.harmless = True
            return text.encode()
        data, notes = mutations.mutate_text(self.random, text)
        self.notes += notes
        return data

    def track(self, source: Path | str, *more: str, weights: Path | None = None) -> None:
        """Make the command one that tracks `source`."""
        self.command = "track"
        self.arguments = [str(source), "--weights", str(weights or self.corpus.weights), "--output", OUTPUT, *more]

    def photos(self) -> Path:
        """Write an ordinary folder of a few images and return it."""
        for number, data in enumerate(self.corpus.pngs):
            self.write(f"photos/{number}.png", data)
        self.frames = FEW
        return self.folder / "photos"


KINDS: dict[str, Callable[[Case], None]] = {}
"""By name: what gives a new case its files and its command line."""


def kind(name: str) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Register what prepares the cases of a kind."""

    def register(prepare: Callable[[Case], None]) -> Callable[[Case], None]:
        KINDS[name] = prepare
        return prepare

    return register


def make(name: str, number: int, seed: int, folder: Path, corpus: Corpus) -> Case:
    """Make a case in a new folder."""
    folder.mkdir(parents=True, mode=0o700)
    case = Case(name, number, seed, folder, corpus)
    KINDS[name](case)
    return case
