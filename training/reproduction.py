"""Make the bundled weights from the data folder: `python -m training.reproduce --data DIR --output DIR`.

Unpacks `DIR/train/*.tar`, trains by `configs/train_lite.yaml`, exports and scores on the sequences of `DIR/dev`.
Training that is done is not done again, so it may happen on a machine with a GPU and the rest elsewhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tarfile
from pathlib import Path

import torch

from core.errors import SourceError, UserError

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[1]
_SCORE_SHIFT = -0.405  # logit(0.4) - logit(0.5): FairMOT's threshold of 0.4 falls where 0.5 was
_SEQUENCES = ("PETS-S3-MF1", "TUD-Campus")


def unpack(archives: Path, folder: Path) -> int:
    """Unpack every tar file of `archives` into `folder` and return how many files were missing there.

    Raises:
        SourceError: if there are no tar files, one is damaged, or one would write elsewhere.
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
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
                    written += 1
        except tarfile.TarError as error:
            raise SourceError(f"Copy {path} again, since it is damaged: {error}.") from error
    return written


def steps_done(output: Path) -> int:
    """Return the steps behind `average.pth`, 0 if there is none."""
    path = output / "average.pth"
    return int(torch.load(path, map_location="cpu", weights_only=True)["epoch"]) if path.exists() else 0


def _run(*arguments: str | Path) -> None:
    log.info("python %s", " ".join(map(str, arguments)))
    subprocess.run([sys.executable, *map(str, arguments)], cwd=_ROOT, check=True)


def reproduce(data: Path, output: Path) -> None:
    """Make `dla_34_lite.onnx` in `output` and score it.

    Raises:
        UserError: if the data are missing.
        subprocess.CalledProcessError: if a command fails; it has said why.
    """
    data, output = data.resolve(), output.resolve()
    settings = output / "settings.json"
    if not settings.exists() or steps_done(output) < json.loads(settings.read_text())["steps"]:
        log.info("%d files unpacked", unpack(data / "train", output / "data"))
        last = output / "last.pth"
        resume = ("--resume", last) if last.exists() else ()
        config = _ROOT / "configs" / "train_lite.yaml"
        _run("-m", "training.train", "--config", config, "--data", output / "data", "--output", output, *resume)
    width, height = json.loads(settings.read_text())["size"]
    model = output / "dla_34_lite.onnx"
    finish = ("--size", f"{width}x{height}", "--half-storage", "--score-shift", str(_SCORE_SHIFT))
    _run("-m", "export", output / "average.pth", *finish, "-o", model)
    sequences = [data / "dev" / name for name in _SEQUENCES]
    _run("run_track.py", *sequences, "--eval", "--no-video", "--weights", model, "--output", output / "tracks")


def main() -> int:
    """Run the command and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m training.reproduce", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/*.tar and dev/")
    parser.add_argument("--output", type=Path, required=True, help="folder for everything that is made")
    options = parser.parse_args()
    try:
        reproduce(options.data, options.output)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
