"""Unexpected exceptions, of a library or from a bug of this project, as user errors."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from types import TracebackType

from fairmot.core.errors import UserError
from fairmot.core.text import reason_of, without_secrets

_ROOT = Path(__file__).resolve().parents[1]
# By path of the module that was running; the first that fits.
_PARTS = {
    "engine": "the network",
    "tracker/evaluation": "scoring",
    "tracker": "the tracker",
    "video/sink": "writing the results",
    "video/video_sink": "writing the video",
    "video/video_process": "writing the video",
    "video/mp4": "writing the video",
    "video/planes": "writing the video",
    "video/canvas": "writing the video",
    "video/encoders": "writing the video",
    "video/drawing": "writing the video",
    "video/window": "the window",
    "video": "the source",
    "app/scoring": "scoring",
    "app/tracking_process": "tracking or writing the results",
    "export": "the export",
    "plugins": "the build of the plugins",
    "training": "training",
}
_LONGEST_LINE = 300  # characters, of a traceback
_MOST_TRACEBACK = 4000  # characters

OUT_OF_MEMORY = re.compile(
    r"out ?of ?memory|(enough|insufficient) (free |device |gpu )?memory|memory .*could not be allocated|"
    r"bad.?alloc|alloc(ate|ating|ation of)? memory|(failed to|can't|cannot|unable to) allocate|memoryerror",
    re.IGNORECASE,
)
"""Messages of ONNX Runtime, OpenCV, NumPy, PyTorch, CUDA and TensorRT after an allocation failed."""


def explained(error: Exception, subject: str = "", details: str = "") -> UserError:
    """Return an exception as a user error, whose one sentence names what failed and the remedy.

    Args:
        error: anything; a `UserError` is returned as it is.
        subject: what was being processed, such as the name of a source; may be left out.
        details: the file with the traceback, if there is one.
    """
    if isinstance(error, UserError):
        return error
    part, detail = _part_of(error.__traceback__), _detail(error)
    trace = f"in {details}" if details else "that FAIRMOT_TRACEBACK=1 in the environment prints"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(f"{type(error).__name__} {error}"):
        sentence = (
            f"memory ran out in {part} ({detail}); free some, or take smaller frames, a smaller --size or --batch."
        )
    elif isinstance(error, OSError) or _is_foreign(error):
        sentence = f"{part} failed ({detail}); see the traceback {trace}."
    else:
        sentence = f"internal error in {part} ({detail}); please report it with the traceback {trace}."
    sentence = f"{subject}: {sentence}" if subject else sentence[:1].upper() + sentence[1:]
    found = UserError(sentence)
    found.__cause__ = error
    return found


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception and of its causes without secrets, the innermost calls if it is long."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    lines = (line[:_LONGEST_LINE] for line in without_secrets(text).splitlines())
    return "\n".join(lines)[-_MOST_TRACEBACK:]


def _part_of(trace: TracebackType | None) -> str:
    """Return a description of the part of the project that made the innermost call of a traceback."""
    found = "the program"
    for frame, _ in traceback.walk_tb(trace):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_ROOT):
            module = path.relative_to(_ROOT).with_suffix("").as_posix()
            found = next((words for name, words in _PARTS.items() if _is_in(module, name)), found)
    return found


def _is_in(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}/")


def _is_foreign(error: Exception) -> bool:
    """Return whether a library other than Python's own defines an exception."""
    return type(error).__module__.partition(".")[0] not in ("builtins", "__main__", "fairmot")


def _detail(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = reason_of(reason)
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
