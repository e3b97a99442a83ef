"""What a run leaves beside its tracks: `run.json`, `scores.json`, and lines for the terminal."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import cv2

from fairmot.app.options import Options, project_version
from fairmot.core.files import is_full, open_new
from fairmot.core.text import without_credentials
from fairmot.engine import Engine
from fairmot.video import Source
from fairmot.video.sink import write_error
from fairmot.video.sources import names_path
from fairmot.video.urls import is_url

RUN, SCORES = "run.json", "scores.json"

_PACKAGES = ("av", "lap", "numpy", "onnx", "onnxruntime", "pycuda", "scipy", "tensorrt", "torch")

# Parameters of a query, in small letters and without separators: of cameras, media servers and signed URLs (AWS,
# Google, Azure, CloudFront). Only those that can hardly mean a channel: a wrong one would make two sources the same.
_ACCESS_NAMES = frozenset({
    "auth", "exp", "expires", "hmac", "key", "keypairid", "login", "loginpas", "loginuse", "nonce", "otp", "pass",
    "pin", "psw", "pw", "sig", "user", "username", "usr",
})  # fmt: skip
_ACCESS_BEGINNINGS = ("xamz", "xgoog")
_ACCESS_ENDINGS = (
    "apikey", "accesskey", "authorization", "credential", "credentials", "jwt", "passphrase", "passwd", "password",
    "pwd", "secret", "sessionid", "signature", "token",
)  # fmt: skip


@dataclass
class RunReport:
    """The facts of tracking one source, written as `run.json`.

    Attributes:
        location: what was tracked, see `location_of`.
        status: `running`, then `complete`, `stopped` (from the window), `interrupted` (by a signal), `damaged` (the
            source ended early or in part) or `failed` (it broke off, or results could not be written).
        message: what went wrong, in a sentence.
        traceback: of what nobody expected, for a report of a bug.
        started: local time, ISO 8601.
        frames: how many were tracked.
        first_frame, last_frame: their numbers in the source.
        identities: how many people were reported.
        wall_seconds: from the first frame asked for until all files were closed.
        milliseconds: per frame, by stage. `read`, `write` and `wait` are what the loop waited; decoding, encoding and
            what a GPU does (`gpu`) run beside it.
    """

    location: str
    started: str
    status: str = "running"
    message: str | None = None
    traceback: str | None = None
    frames: int = 0
    first_frame: int | None = None
    last_frame: int | None = None
    identities: int = 0
    wall_seconds: float = 0.0
    milliseconds: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Frames per second over the whole run."""
        return self.frames / self.wall_seconds if self.wall_seconds else 0.0

    def write(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        """Write `run.json` into `folder`.

        Args:
            folder: of the results.
            inputs: what went into the run, see `inputs_of`.

        Raises:
            OutputError: if that is not possible.
        """
        facts = asdict(self)
        if self.traceback is None:
            del facts["traceback"]
        write_json(folder / RUN, {**facts, "frames_per_second": self.rate, **inputs, "versions": versions()})

    def summary(self, name: str, folder: Path) -> str:
        """Return the line that ends a run."""
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in self.milliseconds.items())
        return (
            f"{name}: {self.frames} frames, {self.identities} identities, {self.rate:.1f} frames/s "
            f"(ms per frame: {stages}) -> {folder}"
        )


def inputs_of(options: Options, source: Source, engine: Engine) -> dict[str, Any]:
    """Return what decides the results of a run, as `run.json` holds it."""
    digest = hashlib.sha256(engine.model.path.read_bytes()).hexdigest()
    inputs = {
        "source": {
            "name": source.name,
            "width": source.width,
            "height": source.height,
            "frame_rate": source.frame_rate,
            "frame_count": source.frame_count,
            "is_live": source.is_live,
        },
        "engine": {"name": engine.name, "reason": engine.reason, "input_size": engine.size},
        "model": {**asdict(engine.model), "path": str(engine.model.path), "sha256": digest},
        "configuration": {**asdict(options), "sources": [location_of(source) for source in options.sources]},
    }
    facts: dict[str, Any] = json.loads(_as_json(inputs))  # so that it equals what is read again
    return facts


def read_run(folder: Path) -> dict[str, Any]:
    """Return what `run.json` in `folder` says, nothing if there is none that can be read."""
    try:
        facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def location_of(source: str) -> str:
    """Return what tells a source from all others: a path in full, a URL without what is nobody's business.

    User name and password are left out. Of the query, which may hold more of that, remains a short digest, so that
    `?channel=1` and `?channel=2` are two sources.
    """
    if names_path(source):
        return os.path.realpath(source)  # of links in a circle too, where Path.resolve raises
    if not is_url(source):
        return source.partition("?")[0]
    try:
        digest = _query_digest(urlsplit(source).query)
        return without_credentials(source) + (f" (query {digest})" if digest else "")
    except ValueError:  # no URL, which opening it says
        return f"{source.partition('://')[0]}://"


def _query_digest(query: str) -> str:
    """Return a digest of the parameters of a query that choose what is shown, in any order; empty without any.

    What grants access does not choose, and changes from day to day in signed URLs. Eight digits tell the sources of
    an output folder apart, and are too few to guess anything long from.
    """
    chosen = sorted(pair for pair in parse_qsl(query, keep_blank_values=True) if not _grants_access(pair[0]))
    return hashlib.sha256(repr(chosen).encode("utf-8", "surrogatepass")).hexdigest()[:8] if chosen else ""


def _grants_access(parameter: str) -> bool:
    name = re.sub(r"[^a-z0-9]", "", parameter.lower())
    return name in _ACCESS_NAMES or name.startswith(_ACCESS_BEGINNINGS) or name.endswith(_ACCESS_ENDINGS)


def versions() -> dict[str, str | None]:
    """Return the versions of the project, Python and the packages that decide the results; none if not installed."""
    found: dict[str, str | None] = {
        "fairmot-tensorrt": project_version(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, in place of the old one when it is whole; numbers that JSON lacks become text.

    Raises:
        OutputError: if that is not possible.
    """
    data = _as_json(content).encode()
    draft = path.with_name(f".{path.name}.part")
    try:
        try:
            with open_new(draft) as file:
                file.write(data)
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            if not (is_full(error) and _rewrite(path, data)):
                raise
    except OSError as error:
        raise write_error(path, error) from error


def _rewrite(path: Path, data: bytes) -> bool:
    """Write into the blocks that a file already has, if it has enough; return whether it had."""
    if path.is_symlink() or not path.is_file() or getattr(path.stat(), "st_blocks", 0) * 512 < len(data):
        return False
    with path.open("r+b", buffering=0) as file:
        written = file.write(data)
        file.truncate(written)
    return written == len(data)


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(_finite(content), indent=2) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
