"""The `demo` source: the rendered scene, so that any machine can try the tracker and score it without a file."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from fairmot.core import Frame, SourceError
from fairmot.core.errors import suggestion
from fairmot.core.text import one_line
from fairmot.video.source import Source
from fairmot.video.synthetic.scene import Scene

_OPTIONS = {"people": "16", "frames": "600", "size": "1280x720", "seed": "0", "rate": "25"}
_LIMITS = {"people": (0, 2000), "frames": (1, 10_000_000), "seed": (0, 2**31)}
_SIZE_LIMITS = (64, 8192)
_MOST_PIXELS = 2**24  # rendering takes some 130 bytes per pixel
_MOST_DIGITS = 10  # more than any limit has; Python refuses to convert thousands of digits


class DemoSource(Source):
    """Frames of a rendered scene with ground truth.

    `ground_truth` is a temporary MOTChallenge file that holds every frame handed out so far; it is removed
    with the source object, not on `close`, so that a run can be scored after it.

    Args:
        spec: `demo`, or `demo?people=30&frames=300&size=1280x720&seed=1&rate=25`; any part may be left out.
        start: first frame number, from 1.
        count: most frames to yield.
        stride: yield every n-th frame.

    Raises:
        SourceError: if an option is unknown or its value is invalid.
        ConfigError: if `start`, `count` or `stride` is below 1 or `start` is beyond the end.
    """

    def __init__(self, spec: str = "demo", *, start: int = 1, count: int | None = None, stride: int = 1) -> None:
        options = _parse(spec)
        width, height = _size(options["size"])
        frames = _integer("frames", options["frames"])
        super().__init__("demo", (width, height), _rate(options["rate"]), numbers=range(1, frames + 1))
        self.select(start, count, stride)
        self._scene = Scene(
            people=_integer("people", options["people"]),
            size=(width, height),
            frames=frames,
            frame_rate=self.frame_rate,
            seed=_integer("seed", options["seed"]),
        )
        try:
            folder = tempfile.mkdtemp(prefix="fairmot-demo-")
            # Not when the source is closed: the ground truth is read after that.
            self._remove_folder = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self.ground_truth = Path(folder) / "gt" / "gt.txt"
            self.ground_truth.parent.mkdir()
            self._truth = self.ground_truth.open("w")
        except OSError as error:
            raise _truth_error(error) from error

    def write_ground_truth_to(self, path: Path) -> None:
        """Write the ground truth into another file than a temporary one."""
        self._truth.close()
        self._remove_folder()
        self.ground_truth = path
        try:
            self._truth = path.open("w")
        except OSError as error:
            raise _truth_error(error) from error

    def _frames(self) -> Iterator[Frame]:
        for number in range(self._start, self._scene.frames + 1, self._stride):
            pixels = self._scene.render(number)
            try:
                self._truth.writelines(self._scene.ground_truth_rows(number))
                self._truth.flush()
            except OSError as error:
                raise _truth_error(error) from error
            yield Frame(number, (number - 1) / self.frame_rate, pixels)

    def _release(self) -> None:
        self._truth.close()


def _truth_error(error: OSError) -> SourceError:
    reason = (error.strerror or str(error)).lower()
    return SourceError(
        f"The ground truth of the demo cannot be written to a temporary folder ({reason}); let TMPDIR name a folder "
        "with free space."
    )


def _parse(spec: str) -> dict[str, str]:
    """Return all options of a specification, defaults filled in."""
    name, _, query = spec.partition("?")
    if name != "demo":
        raise SourceError(f'"{spec}" is not a demo; write "demo" or "demo?people=30&frames=300".')
    options = dict(_OPTIONS)
    for part in filter(None, query.split("&")):
        key, separator, value = part.partition("=")
        if key not in options:
            known = ", ".join(_OPTIONS)
            raise SourceError(f'The demo has no option "{one_line(key)}"; it knows {known}.{suggestion(key, _OPTIONS)}')
        if not separator or not value:
            raise SourceError(f'The demo option "{key}" needs a value, as in {key}={_OPTIONS[key]}.')
        options[key] = value
    return options


def _integer(key: str, text: str) -> int:
    low, high = _LIMITS[key]
    if not _is_between(text, low, high):
        raise SourceError(f'The demo option {key} must be a whole number from {low} to {high}, not "{one_line(text)}".')
    return int(text)


def _size(text: str) -> tuple[int, int]:
    low, high = _SIZE_LIMITS
    width, _, height = text.partition("x")
    if not (_is_between(width, low, high) and _is_between(height, low, high)):
        raise SourceError(
            f"The demo option size must be WIDTHxHEIGHT with {low} to {high} pixels each, as in 1280x720, not "
            f'"{one_line(text)}".'
        )
    if int(width) * int(height) > _MOST_PIXELS:
        raise SourceError(
            f"The demo option size must have at most {_MOST_PIXELS} pixels, as 4096x4096 has, not {text}."
        )
    return int(width), int(height)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.1 <= rate <= 1000.0:
        raise SourceError(
            f'The demo option rate must be a number of frames per second from 0.1 to 1000, not "{one_line(text)}".'
        )
    return rate


def _is_between(text: str, low: int, high: int) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS and low <= int(text) <= high
