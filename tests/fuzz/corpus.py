"""The whole files that are damaged: small, of every kind, made here; the same for the same PyAV and OpenCV."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from support import blob_network

from fairmot.engine.graph.prepare import VERSION
from fairmot.engine.model import ModelInfo
from fairmot.engine.trt.layers import Layer
from fairmot.engine.trt.plan import BuildSettings, Host, Plan

ROOT = Path(__file__).resolve().parents[2]
SIZE = (96, 64)
RATE = 8  # three seconds, so that a loss is longer than what a container's length may be off by
FRAMES = 24
FEW = 3  # images where video is not what is tried
_X264 = {"preset": "ultrafast", "threads": "1"}
_TITLE = {"title": "Straße 3 名前", "comment": "a longer text that a byte may change without any harm"}


def scene_image(number: int) -> np.ndarray:
    """Two people who walk over noise that no encoder makes small."""
    cells = {(4 + number // 2, 5): (255, 255, 255), (17 - number // 3, 9): (240, 255, 250)}
    noise = np.random.default_rng(number).integers(0, 90, (SIZE[1], SIZE[0], 3), np.uint8)
    return np.asarray(np.maximum(noise, blob_network.image_of(SIZE, cells)), np.uint8)


@dataclass(frozen=True)
class Corpus:
    """Whole inputs, as bytes where they are to be damaged.

    Attributes:
        videos: by container; a file name's ending and content each.
        images: by format; likewise. All show the same scene.
        models: ONNX files, each with what lies beside it.
        plan: a TensorRT plan.
        streams: `.npz` files of detections.
        det, gt, seqinfo, yaml: texts.
        finished: files of a complete run on the images `0.png` to `2.png` of a folder, by name.
        finished_source: the path of that folder, which the report of that run names.
        weights: a network that runs in microseconds.
    """

    videos: dict[str, list[tuple[str, bytes]]]
    images: dict[str, list[tuple[str, bytes]]]
    models: list[dict[str, bytes]]
    plan: bytes
    streams: list[bytes]
    det: str
    gt: str
    seqinfo: str
    yaml: str
    finished: dict[str, bytes]
    finished_source: str
    weights: Path

    @cached_property
    def pngs(self) -> list[bytes]:
        """The images of an ordinary folder."""
        return [encode_image(".png", number) for number in range(FEW)]


def make(folder: Path) -> Corpus:
    """Make everything; takes a few seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = blob_network.save(folder / "blobs.onnx")
    finished = _finished_run(folder, weights)
    return Corpus(
        videos=_videos(folder),
        images=_images(),
        models=_models(folder, weights),
        plan=_plan(folder, weights),
        streams=[_stream(), finished["detections.npz"]],
        det=_boxes("{frame},-1,{box},0.9"),
        gt=_boxes("{frame},{person},{box},1,1,1"),
        seqinfo=f"[Sequence]\nname=walk\nimDir=img1\nframeRate={RATE}\nseqLength={FEW}\n"
        f"imWidth={SIZE[0]}\nimHeight={SIZE[1]}\nimExt=.png\n",
        yaml=_YAML,
        finished={name: data for name, data in finished.items() if name != "detections.npz"},
        finished_source=str((folder / "photos").resolve()),
        weights=weights,
    )


_YAML = """\
# a part of what there is
start: 1
frames: null
stride: 1
split: full
threads: 1
max_detections: 500
size: 96x64
video: true
save_detections: null
benchmark: auto
tracker:
  confidence_threshold: 0.4
  low_score_stage: true
  new_track_threshold: null
  motion_weight: 0.4
  gating_threshold: 9.4877
  lost_track_buffer: 30
  box_model: xywh
  max_aspect_ratio: .inf
  min_box_area: 100.0
"""


def _boxes(form: str) -> str:
    """Return rows of two people in `FEW` frames."""
    rows = []
    for frame in range(1, FEW + 1):
        for person in (1, 2):
            rows.append(form.format(frame=frame, person=person, box=f"{20 * person + frame},{5 * person},20.5,40"))
    return "".join(f"{row}\n" for row in rows)


def _videos(folder: Path) -> dict[str, list[tuple[str, bytes]]]:
    images = [scene_image(number) for number in range(FRAMES)]

    def encode(ending: str, codec: str, pix_fmt: str = "yuv420p", **options: Any) -> tuple[str, bytes]:
        path = folder / f"clip.{ending}"
        encode_video(path, images, codec, pix_fmt, **options)
        return ending, path.read_bytes()

    h264: dict[str, Any] = {"codec": "libx264", "encoder": _X264}
    jpegs = b"".join(with_exif(encode_image(".jpg", number), orientation=1) for number in range(FRAMES))
    return {
        "mp4": [
            encode("mp4", **h264),
            encode("mp4", **h264, audio=True, metadata=_TITLE, muxer={"movflags": "faststart"}),
            _turned(encode("mp4", **h264, muxer={"movflags": "frag_keyframe+empty_moov"})),
            _turned(encode("mp4", "libx264", encoder={**_X264, "bf": "2"}, metadata=_TITLE)),
            encode("mp4", "libx265", encoder={"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}),
        ],
        "mov": [
            encode("mov", "prores_ks", "yuv422p10le"),
            encode("mov", **h264, metadata=_TITLE),
            encode("mov", "mjpeg", "yuvj420p"),
        ],
        "mkv": [encode("mkv", **h264, audio=True, metadata=_TITLE), encode("mkv", "ffv1")],
        "webm": [encode("webm", "libvpx", metadata=_TITLE), encode("webm", "libvpx-vp9", encoder={"cpu-used": "8"})],
        "avi": [encode("avi", "mpeg4", metadata=_TITLE), encode("avi", "mjpeg", "yuvj420p")],
        "ts": [encode("ts", **h264, metadata=_TITLE), encode("ts", "mpeg2video", rate=25)],
        "flv": [encode("flv", **h264, metadata=_TITLE), encode("flv", "flv")],
        "gif": [encode("gif", "gif", "rgb8")],
        "mjpeg": [("mjpeg", jpegs)],
        "ogg": [encode("ogv", "libvpx", container="ogg")],
        "other": [
            encode("h264", **h264),
            encode("mpg", "mpeg2video", rate=25),
            encode("wmv", "wmv2", container="asf"),
            encode("ivf", "libvpx"),
            encode("nut", "ffv1"),
            encode("apng", "apng", "rgb24"),
        ],
    }


def encode_video(
    path: Path,
    images: Iterable[np.ndarray],
    codec: str,
    pix_fmt: str = "yuv420p",
    *,
    rate: int = RATE,
    container: str | None = None,
    encoder: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    audio: bool = False,
) -> None:
    """Encode BGR images, with a track of silence where `audio` asks for it; without dates and random numbers."""
    with av.open(str(path), "w", format=container, options={"fflags": "+bitexact", **(muxer or {})}) as out:
        out.metadata.update(metadata or {})
        stream: Any = out.add_stream(codec, rate=rate, options={"threads": "1", **(encoder or {})})
        stream.width, stream.height, stream.pix_fmt = *SIZE, pix_fmt
        sound: Any = out.add_stream("aac", rate=8000) if audio else None
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.rate = 8000
            out.mux(sound.encode(silence))
            out.mux(sound.encode(None))


def _turned(file: tuple[str, bytes]) -> tuple[str, bytes]:
    """Set the display matrix to a quarter turn, as of a phone that is held upright."""
    ending, data = file
    one = 0x10000
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 0x40000000)
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
    at = data.index(upright, data.index(b"tkhd"))
    return ending, data[:at] + turned + data[at + len(turned) :]


def encode_image(ending: str, number: int = 0, *settings: int, image: np.ndarray | None = None) -> bytes:
    """Encode an image with OpenCV."""
    done, data = cv2.imencode(ending, scene_image(number) if image is None else image, settings)
    assert done, ending
    return data.tobytes()


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF block with an orientation and a text in Latin-1 into a JPEG."""
    text = b"Stra\xdfe\0"
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack("<HHII", 0x010E, 2, len(text), 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0) + text
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def _images() -> dict[str, list[tuple[str, bytes]]]:
    gray, deep = scene_image(0)[..., 1], scene_image(0).astype(np.uint16) * 257
    alpha = np.dstack((scene_image(0), np.full(SIZE[::-1], 255, np.uint8)))
    return {
        "jpg": [
            ("jpg", with_exif(encode_image(".jpg"), orientation=6)),
            ("jpeg", encode_image(".jpg", 0, cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)),
            ("JPG", encode_image(".jpg", image=gray)),
        ],
        "png": [
            ("png", encode_image(".png")),
            ("png", encode_image(".png", image=alpha)),
            ("png", encode_image(".png", image=deep)),
            ("png", encode_image(".png", image=gray)),
        ],
        "webp": [("webp", encode_image(".webp", 0, cv2.IMWRITE_WEBP_QUALITY, quality)) for quality in (80, 101)],
        "tiff": [("tif", encode_image(".tiff")), ("tiff", encode_image(".tiff", image=gray))],
        "bmp": [("bmp", encode_image(".bmp")), ("bmp", encode_image(".bmp", image=gray))],
    }


def _models(folder: Path, weights: Path) -> list[dict[str, bytes]]:
    """The network as it is, with raw heads, and with its weights in a file beside it."""
    import onnx

    beside = folder / "beside"
    beside.mkdir(exist_ok=True)
    onnx.save(
        blob_network.build(),
        beside / "model.onnx",
        save_as_external_data=True,
        location="model.data",
        size_threshold=64,  # sizes and axes stay, as ONNX Runtime wants to see them when it loads the graph
    )
    return [
        {"model.onnx": weights.read_bytes()},
        {"model.onnx": blob_network.save(folder / "raw.onnx", blob_network.build(raw=True)).read_bytes()},
        {name: (beside / name).read_bytes() for name in ("model.onnx", "model.data")},
    ]


def _plan(folder: Path, weights: Path) -> bytes:
    layers = tuple(
        Layer(name, "CaskConvolution", ("half HWC8",), ("half HWC8", "half HWC8")) for name in ("stem", "proj")
    )
    settings = BuildSettings(SIZE, (1, 4), aux_streams=0)
    host = Host("NVIDIA H200", (9, 0), "8.6.0", "abc123")
    plan = Plan(ModelInfo.read(weights), 64 * "0", settings, host, VERSION, layers, bytes(range(256)))
    path = folder / "a.plan"
    plan.write(path)
    return path.read_bytes()


def _stream() -> bytes:
    """Detections of two people in `FEW` frames, as documented in `fairmot.tracker.detection_file`."""
    frame = np.repeat(np.arange(1, FEW + 1, dtype=np.int32), 2)
    left = np.tile([10.0, 50.0], FEW) + frame
    embedding = np.random.default_rng(1).normal(size=(len(frame), 8)).astype(np.float32)
    content: dict[str, Any] = {
        "frame": frame,
        "tlbr": np.column_stack((left, left - 5, left + 20, left + 40)).astype(np.float32),
        "score": np.full(len(frame), 0.9, np.float32),
        "embedding": embedding / np.linalg.norm(embedding, axis=1, keepdims=True),
        "class_id": np.zeros(len(frame), np.int32),
        "processed": np.arange(1, FEW + 1),
        "fps": np.float64(RATE),
        "width": np.int64(SIZE[0]),
        "height": np.int64(SIZE[1]),
        "n_frames": np.int64(FEW),
    }
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def _finished_run(folder: Path, weights: Path) -> dict[str, bytes]:
    """Return the files of a run on a folder of images by the real command."""
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for number in range(FEW):
        (photos / f"{number}.png").write_bytes(encode_image(".png", number))
    out = folder / "finished"
    arguments = [photos, "--weights", weights, "--output", out, "--save-detections", out / "photos" / "detections.npz"]
    command = [sys.executable, str(ROOT / "run_track.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"The run that the corpus needs failed: {done.stderr}")
    return {path.name: path.read_bytes() for path in sorted((out / "photos").iterdir()) if path.is_file()}
