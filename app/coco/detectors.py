"""Detectors from images to the detections that COCO's measure counts: the best 100 of an image, at any score.

`NetworkDetector` computes as CenterNet does (`src/lib/detectors/base_detector.py` and `ctdet.py`): views of the image
at one or several scales, heads averaged with those of the mirror image, decoding, merging. `EngineDetector` is an
engine of this project as `fairmot track` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from fairmot.app.coco.flip import average_mirrored, with_mirror_image
from fairmot.app.coco.geometry import view_of
from fairmot.app.coco.networks import HeadsNetwork, OnnxNetwork
from fairmot.app.coco.settings import MAX_DETECTIONS, DetectionSettings
from fairmot.app.coco.suppression import nms, soft_nms
from fairmot.core.errors import ConfigError
from fairmot.core.records import ByteArray, Detections, FloatArray, Frame
from fairmot.core.timing import StageClock
from fairmot.engine import Engine, EngineSettings, ModelInfo, open_engine
from fairmot.engine.decode import HeadOutputs, decode, peaks
from fairmot.engine.letterbox import Preprocessor


class Detector(Protocol):
    """A function from images to detections.

    Attributes:
        class_names: of the class ids of its detections.
        description: what runs the network.
    """

    class_names: tuple[str, ...]
    description: str

    def __call__(self, image: ByteArray) -> Detections:
        """Return the best detections of an image `(height, width, 3)` uint8 BGR, at most `MAX_DETECTIONS`."""


class NetworkDetector:
    """Views of an image through a network, decoded in NumPy and merged; see `Detector`.

    Args:
        network: returns the scores of all cells if `settings.flip`.
        settings: what is done.
        size: `(width, height)` of the network's input; the model's own if not given. Not used with `keep_res`.
        clock: gets the seconds of the stages `letterbox`, `network`, `decode` and `merge`.

    Raises:
        ConfigError: if the network takes no input of `size`, or images keep their resolution and `size` is given.
    """

    def __init__(
        self, network: HeadsNetwork, settings: DetectionSettings, size: tuple[int, int] | None, clock: StageClock
    ) -> None:
        model = network.model
        if size is not None and settings.keep_res:
            raise ConfigError("--keep-res leaves every image at its own size: leave --size out.")
        self._size = size or model.size
        model.check_size(self._size)
        self.class_names = model.class_names
        self.description = network.description
        self._network = network
        self._settings = settings
        self._clock = clock
        self._preprocess = Preprocessor(model, self._size)

    def __call__(self, image: ByteArray) -> Detections:
        """Return the best detections of an image; see `Detector`.

        Raises:
            ConfigError: if a side of the input would be larger than the network may take.
            EngineError: if the network fails.
            ModelError: if its heads are invalid.
        """
        found = [self._detect(image, scale) for scale in self._settings.scales]
        with self._clock("merge"):
            return merged(found, self._settings)

    def _detect(self, image: ByteArray, scale: float) -> Detections:
        model, clock = self._network.model, self._clock
        with clock("letterbox"):
            view = view_of(image, model, self._size, scale, self._settings.keep_res)
            images = self._preprocess.prepare(view.image, view.geometry)[None]
            if self._settings.flip:
                images = with_mirror_image(images)
        with clock("network"):
            heads = self._network(images)
        with clock("decode"):
            (found,) = decode(_best_cells(self._finished(heads)), 0.0, MAX_DETECTIONS)
            return view.to_image(found, model.stride)

    def _finished(self, heads: HeadOutputs[FloatArray]) -> HeadOutputs[FloatArray]:
        """Return heads of the image alone, with scores of peaks in the heatmap."""
        is_raw, flip = self._network.model.raw_heads, self._settings.flip
        if is_raw:  # the sigmoid by tanh, which cannot overflow
            heads = replace(heads, heatmap=np.float32(0.5) * (np.float32(1) + np.tanh(heads.heatmap / np.float32(2))))
        if flip:
            heads = average_mirrored(heads)
        return replace(heads, heatmap=peaks(heads.heatmap[0])[None]) if is_raw or flip else heads


class EngineDetector:
    """An engine as `fairmot track` runs it, letterbox and decoding on the GPU; see `Detector`.

    Args:
        engine: open, with `MAX_DETECTIONS` and a score threshold of 0.
        settings: what is done; only `nms` is possible.
    """

    def __init__(self, engine: Engine, settings: DetectionSettings) -> None:
        self.class_names = engine.model.class_names
        self.description = engine.reason
        self._engine = engine
        self._settings = settings

    def __call__(self, image: ByteArray) -> Detections:
        """Return the best detections of an image; see `Detector`.

        Raises:
            EngineError: if the backend fails.
        """
        (found,) = self._engine.detect([Frame(1, 0.0, image)])
        return merged([found], self._settings)


@contextmanager
def open_detector(
    engine: Literal["onnxruntime", "tensorrt"],
    model: ModelInfo,
    settings: DetectionSettings,
    size: tuple[int, int] | None,
    clock: StageClock,
) -> Iterator[Detector]:
    """Yield a detector that runs a model in ONNX Runtime, or in TensorRT in half precision.

    Args:
        engine: which of them.
        model: metadata of the ONNX file.
        settings: what is done.
        size: `(width, height)` of the network's input; the model's own if not given.
        clock: gets the seconds of the stages.

    Raises:
        ConfigError: if the settings ask for what an engine of one size, with peaks alone in its heatmap, cannot do; if
            TensorRT cannot run here.
        UserError: if the model cannot be opened.
    """
    if engine == "onnxruntime":
        yield NetworkDetector(OnnxNetwork(model, all_cells=settings.flip), settings, size, clock)
        return
    _require_plain(settings)
    building = EngineSettings(
        backend="tensorrt",
        weights=model.path,
        size=size,
        max_detections=MAX_DETECTIONS,
        score_threshold=0.0,
        clock=clock,
    )
    with open_engine(building) as opened:
        yield EngineDetector(opened, settings)


def _require_plain(settings: DetectionSettings) -> None:
    """Raise `ConfigError` for what a TensorRT engine cannot do."""
    refused = [
        flag
        for flag, is_given in (
            ("--keep-res", settings.keep_res),
            ("--scales", settings.scales != (1.0,)),
            ("--flip", settings.flip),
        )
        if is_given
    ]
    if refused:
        raise ConfigError(
            f"A TensorRT engine has one input size and keeps peaks alone, so {' and '.join(refused)} cannot be done: "
            "leave it out, or give --engine onnxruntime."
        )


def merged(found: Sequence[Detections], settings: DetectionSettings) -> Detections:
    """Return the best detections of all views of an image, those that overlap suppressed as the settings say."""
    together = Detections(
        np.concatenate([each.tlbr for each in found]),
        np.concatenate([each.scores for each in found]),
        np.concatenate([each.class_ids for each in found]),
        np.zeros((sum(map(len, found)), 0), np.float32),
    )
    together = together[np.argsort(-together.scores, kind="stable")]
    if settings.nms:
        together = nms(together)
    elif len(found) > 1:
        together = soft_nms(together)
    return together[:MAX_DETECTIONS]


def _best_cells(heads: HeadOutputs[FloatArray]) -> HeadOutputs[FloatArray]:
    """Return heads in whose heatmap few scores but the best are left, so that decoding need not sort all peaks.

    At a threshold of 0 a heatmap of 80 classes has 100,000 candidates. As many cells as there may be detections have a
    score of at least `least`, so nothing below it is among the best.
    """
    best_of_cell = heads.heatmap.max(axis=1).reshape(-1)
    if len(best_of_cell) <= MAX_DETECTIONS:
        return heads
    least = np.partition(best_of_cell, -MAX_DETECTIONS)[-MAX_DETECTIONS]
    return replace(heads, heatmap=np.where(heads.heatmap >= least, heads.heatmap, np.float32(0)))
