"""Reproduction of the bundled weights from the data folder.

Unpacks `DIR/train/*.tar`, trains by `configs/train_lite.yaml`, exports and scores on the sequences of `DIR/dev`.
Finished training is not repeated, so it may run on a machine with a GPU and the rest elsewhere.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import tarfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from fairmot.core.errors import SourceError
from fairmot.core.signals import StopSignals
from fairmot.training.outputs import UNREADABLE, writing

_ROOT = Path(str(files("fairmot"))).parent  # from where `python -m fairmot` is found, installed or not
log = logging.getLogger(__name__)

_SCORE_SHIFT = -0.405  # logit(0.4) - logit(0.5): FairMOT's threshold of 0.4 falls where 0.5 was
_SEQUENCES = ("PETS-S3-MF1", "TUD-Campus")


def unpack(archives: Path, folder: Path) -> int:
    """Unpack every tar file of `archives` into `folder` and return the number of files written.

    Raises:
        SourceError: if there are no tar files, one is damaged, or one would write outside of `folder`.
        OutputError: if `folder` cannot be written.
    """
    paths = sorted(archives.glob("*.tar"))
    if not paths:
        raise SourceError(f"There are no tar files in {archives}.")
    written = 0
    for path in paths:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    target = folder / member.name
                    if not target.resolve().is_relative_to(folder.resolve()):
                        raise SourceError(f"{path} holds {member.name}, which lies outside of the folder to unpack to.")
                    content = archive.extractfile(member)
                    if content is None or (target.exists() and target.stat().st_size == member.size):
                        continue
                    data = content.read()
                    with writing(target):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(data)
                    written += 1
        except tarfile.TarError as error:
            raise SourceError(f"Copy {path} again, since it is damaged: {error}.") from error
    return written


def steps_done(output: Path) -> int:
    """Return the number of steps that `average.pth` was trained for, 0 if it does not exist.

    Raises:
        SourceError: if it is not a checkpoint of a training run.
    """
    path = output / "average.pth"
    if not path.exists():
        return 0
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True)["epoch"])
    except UNREADABLE as error:
        raise SourceError(f"{path} holds no weights of a training run: remove it.") from error


def _settings(output: Path) -> dict[str, Any]:
    """Return the settings of the run in `output`."""
    path = output / "settings.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return {"steps": int(content["steps"]), "size": tuple(content["size"])}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SourceError(f"{path} holds no settings of a training run: remove it.") from error


def _run(*arguments: str | Path) -> None:
    """Run a Python command; signals are passed on to it, so that it ends by itself.

    Raises:
        subprocess.CalledProcessError: if it fails.
        SystemExit: if a signal came.
    """
    command = [sys.executable, *map(str, arguments)]
    log.info("python %s", " ".join(command[1:]))
    # In a session of its own it receives Ctrl-C once, from here, and not from the terminal too.
    child = subprocess.Popen(command, cwd=_ROOT, start_new_session=True)
    with StopSignals(lambda: child.send_signal(signals.received or signal.SIGTERM)) as signals:
        code = child.wait()
    if signals.received:
        raise SystemExit(128 + signals.received)
    if code:
        raise subprocess.CalledProcessError(code, command)


def reproduce(data: Path, output: Path) -> None:
    """Create `dla_34_lite.onnx` in `output` and score it.

    Raises:
        UserError: if the data are missing, or `output` holds something else or cannot be written.
        subprocess.CalledProcessError: if a command fails; it has printed why.
    """
    data, output = data.resolve(), output.resolve()
    if not (output / "settings.json").exists() or steps_done(output) < _settings(output)["steps"]:
        log.info("%d files unpacked", unpack(data / "train", output / "data"))
        last = output / "last.pth"
        resume = ("--resume", last) if last.exists() else ()
        config = Path(str(files("fairmot.configs") / "train_lite.yaml"))
        _run("-m", "fairmot", "train", "--config", config, "--data", output / "data", "--output", output, *resume)
    width, height = _settings(output)["size"]
    model = output / "dla_34_lite.onnx"
    finish = ("--size", f"{width}x{height}", "--half-storage", "--score-shift", str(_SCORE_SHIFT))
    _run("-m", "fairmot", "export", output / "average.pth", *finish, "-o", model)
    sequences = [data / "dev" / name for name in _SEQUENCES]
    _run(
        "-m", "fairmot", "track", *sequences, "--eval", "--no-video", "--weights", model, "--output", output / "tracks"
    )
