"""Make the detections and the ground truth of the golden set again.

    PYTHONPATH=.:tests python -m golden.make             # the synthetic walks: the same bytes everywhere
    PYTHONPATH=.:tests python -m golden.make rendered    # what the bundled model detects in a rendered scene, too

The second differs in the last digits between machines and versions of ONNX Runtime, so it is made anew only when the
bundled model changes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairmot.core.records import Frame
from fairmot.engine.factory import open_engine
from fairmot.video.synthetic.scene import Scene
from golden import FOLDER, RENDERED
from golden.walks import Recording, Walk

WALKS = {
    # People meet in the middle of the image, hide each other and go on.
    "crossings": Walk(seed=1, frame_rate=25.0, frames=100, people=9),
    # A camera that turns, is knocked twice, and a detector that fails for three frames; people behind glass.
    "pan": Walk(
        seed=2,
        frame_rate=14.0,
        frames=90,
        people=7,
        pan=1.5,
        jerks=((30, (22.0, -9.0)), (61, (-35.0, 14.0))),
        gaps=(45, 46, 47),
        distractors=2,
    ),
    # People who come back: sooner than lost tracks are dropped, in the very frame that they are, and later.
    "returns": Walk(
        seed=3,
        frame_rate=10.0,
        frames=100,
        people=8,
        hurry=2.5,
        gaps=(70,),
        absences=((1, 20, 26), (2, 30, 40), (3, 30, 41), (4, 30, 42), (5, 25, 60), (6, 50, 58), (1, 60, 71)),
    ),
}
LOW_SCORE = 0.2  # which the low-score stage of the tracker begins at
SCENE: dict[str, Any] = {"people": 9, "size": (640, 360), "frames": 90, "frame_rate": 12.5, "seed": 5}


def truth_path(name: str) -> Path:
    """Return the ground truth of a sequence, MOTChallenge text."""
    return FOLDER / "truth" / name / "gt" / "gt.txt"


def detections_path(name: str) -> Path:
    """Return the detection file of a sequence."""
    return FOLDER / "detections" / f"{name}.npz"


def rendered_truth(frames: range) -> str:
    """Return the ground truth of the rendered scene."""
    scene = Scene(**SCENE)
    return "".join(row for frame in frames for row in scene.ground_truth_rows(frame))


def detect(frames: range) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a detection file: what the bundled model detects in frames of the rendered scene."""
    scene = Scene(**SCENE)
    engine = open_engine(score_threshold=LOW_SCORE)
    rows = []
    try:
        for number in frames:
            (found,) = engine.detect([Frame(number, (number - 1) / scene.frame_rate, scene.render(number))])
            rows.append((np.full(len(found), number, np.int32), found.tlbr, found.scores, found.embeddings))
    finally:
        engine.close()
    frame, tlbr, score, embedding = (np.concatenate(column) for column in zip(*rows, strict=True))
    width, height = scene.size
    return {
        "frame": frame,
        "tlbr": tlbr,
        "score": score,
        "embedding": embedding.astype(np.float16),
        "fps": np.array(SCENE["frame_rate"]),
        "width": np.array(width),
        "height": np.array(height),
        "n_frames": np.array(scene.frames),
    }


def main() -> None:
    """Write the files."""
    if sys.argv[1:] == ["rendered"]:
        frames = range(1, SCENE["frames"] + 1)
        _write(RENDERED, rendered_truth(frames), detect(frames))
    for name, walk in WALKS.items():
        recording = Recording(walk)
        _write(name, "".join(recording.truth), recording.archive())


def _write(name: str, truth: str, detections: dict[str, npt.NDArray[Any]]) -> None:
    truth_path(name).parent.mkdir(parents=True, exist_ok=True)
    truth_path(name).write_text(truth)
    (truth_path(name).parents[1] / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\nframeRate={detections['fps']:g}\nseqLength={detections['n_frames']}\n"
        f"imWidth={detections['width']}\nimHeight={detections['height']}\n"
    )
    detections_path(name).parent.mkdir(exist_ok=True)
    np.savez_compressed(detections_path(name), **detections)


if __name__ == "__main__":
    main()
