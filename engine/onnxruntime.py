"""The CPU backend: ONNX Runtime, and its errors as user errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as OperatorMissing

from fairmot.core.cores import usable_cores
from fairmot.core.errors import EngineError, ModelError, UserError
from fairmot.core.failures import OUT_OF_MEMORY
from fairmot.core.records import Detections, FloatArray, Frame
from fairmot.core.text import reason_of
from fairmot.engine.base import Engine
from fairmot.engine.decode import HeadOutputs, decode, map_boxes, map_landmarks
from fairmot.engine.graph.grid_sample import deform_conv_to_grid_sample
from fairmot.engine.letterbox import Preprocessor
from fairmot.engine.model import INPUT, ModelInfo
from fairmot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)

_RUNTIME = "onnxruntime."  # module of ONNX Runtime's exceptions, which share no base class


class OnnxRuntimeEngine(Engine):
    """A model that runs on the CPU.

    Args:
        model: metadata of the model to load.
        settings: how to run it.

    Raises:
        ConfigError: if the model does not take an input of `settings.size`.
        EngineError: if there is not enough memory.
        ModelError: if ONNX Runtime cannot run the model, or its outputs are not what its metadata promises or not
            finite.
    """

    name = "onnxruntime"
    pixel_format = "bgr24"
    # A batch wakes the threads less often: dla_34_lite at 576x320 with 2 threads takes 121, 113 and 111 ms a frame in
    # batches of 1, 2 and 4, and 45 MB more memory per frame of the batch. With 1 thread the batch makes no difference.
    max_batch = 4

    def __init__(self, model: ModelInfo, settings: EngineSettings) -> None:
        self.model = model
        self.size = settings.size or model.size
        model.check_size(self.size)
        threads = settings.threads or usable_cores()
        self.reason = f"ONNX Runtime {onnxruntime.__version__} on the CPU with {threads} thread{'s' * (threads > 1)}"
        self._settings = settings
        with runtime_errors():
            self._preprocess = Preprocessor(model, self.size)
        self._session: onnxruntime.InferenceSession | None = open_session(model.path, threads)
        self._check_outputs()

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detect the objects of each frame; see `Engine`."""
        found: list[Detections] = []
        for start in range(0, len(frames), self.max_batch):
            with runtime_errors():
                found += self._detect_batch(frames[start : start + self.max_batch])
        return found

    def close(self) -> None:
        """Free the network; the engine cannot be used afterwards."""
        self._session = None

    def _detect_batch(self, frames: Sequence[Frame]) -> list[Detections]:
        settings, model = self._settings, self.model
        with settings.clock("letterbox"):
            images, geometries = self._preprocess([frame.bgr for frame in frames])
        with settings.clock("network"):
            heads = HeadOutputs(**dict(zip(model.output_names, self._run(images), strict=True)))
        with settings.clock("decode"):
            most = settings.max_detections or model.max_detections
            in_cells = decode(heads, settings.score_threshold, most, model.raw_heads)
            return [
                Detections(
                    map_boxes(found.tlbr, geometry, model.stride, settings.box_mapping),
                    found.scores,
                    found.class_ids,
                    found.embeddings,
                    map_landmarks(found.landmarks, geometry, model.stride, settings.box_mapping),
                )
                for found, geometry in zip(in_cells, geometries, strict=True)
            ]

    def _run(self, images: FloatArray) -> list[FloatArray]:
        if self._session is None:
            raise RuntimeError("The engine is closed")
        outputs: list[FloatArray] = self._session.run(self.model.output_names, {INPUT: images})
        return outputs

    def _check_outputs(self) -> None:
        """Run the smallest input once, so that an invalid model is refused when it is opened and not later."""
        side = self.model.size_multiple
        try:
            outputs = self._run(np.zeros((1, 3, side, side), np.float32))
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise _open_failure(self.model.path, error) from error
        by_name = dict(zip(self.model.output_names, outputs, strict=True))
        self.model.check_outputs((side, side), {name: output.shape for name, output in by_name.items()})
        for name, output in by_name.items():
            if not np.isfinite(output).all():
                raise ModelError(
                    f'{self.model.path}: the output "{name}" is not finite for a black image, so the model can find '
                    "nothing: train it again, or export another checkpoint with `fairmot export`."
                )


def open_session(path: Path, threads: int, graph: onnx.ModelProto | None = None) -> onnxruntime.InferenceSession:
    """Load a model for the CPU.

    Args:
        path: of the ONNX file.
        threads: that compute.
        graph: what to load in place of the file's content, which was read from it.

    Raises:
        EngineError: if there is not enough memory.
        ModelError: if ONNX Runtime cannot run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Waiting threads sleep. Spinning gains 3 % while the cores are free (117 against 121 ms a frame, 2 threads) but
    # takes them from decoding and drawing: on 2 cores with other work it costs about 30 % (300 against 230 ms).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    onnxruntime.set_default_logger_severity(4)  # of what runs outside of sessions
    options.log_severity_level = 4  # its errors come as exceptions too, its warnings call for no action
    providers = ["CPUExecutionProvider"]  # nothing to fall back to, so no fallback, which prints to standard output
    try:
        try:
            source = str(path) if graph is None else graph.SerializeToString()
            return onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)
        except OperatorMissing as error:
            if "DeformConv" not in str(error):
                raise
        _log.info(
            "ONNX Runtime %s has no DeformConv on the CPU, so GridSample replaces it: the same results, "
            "slower than with Python 3.11 and a current onnxruntime",
            onnxruntime.__version__,
        )
        rewritten = deform_conv_to_grid_sample(onnx.load(path) if graph is None else graph)
        return onnxruntime.InferenceSession(
            rewritten.SerializeToString(), options, providers=providers, enable_fallback=0
        )
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise _open_failure(path, error) from error


def _open_failure(path: Path, error: Exception) -> UserError:
    """Return the user error for an exception that ONNX Runtime raised while it loaded or tried a model."""
    if _ran_out_of_memory(error):
        return _memory_error("opened the model")
    return ModelError(
        f"ONNX Runtime {onnxruntime.__version__} cannot run {path} ({_reason(error)}): "
        "export the checkpoint again with `fairmot export`, or update onnxruntime."
    )


@contextmanager
def runtime_errors() -> Iterator[None]:
    """Turn errors of ONNX Runtime, OpenCV and the allocator inside the block into `EngineError`; others pass.

    Raises:
        EngineError: if memory ran out or the runtime failed.
    """
    try:
        yield
    except Exception as error:
        if _ran_out_of_memory(error):
            raise _memory_error("ran the model") from error
        if isinstance(error, cv2.error) or type(error).__module__.startswith(_RUNTIME):
            library = "OpenCV" if isinstance(error, cv2.error) else f"ONNX Runtime {onnxruntime.__version__}"
            raise EngineError(
                f"{library} failed while the engine ran the model ({_reason(error)}): start again; if it happens "
                "again, lower --size or --batch, or update the package."
            ) from error
        raise


def _ran_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    is_foreign = isinstance(error, cv2.error) or type(error).__module__.startswith(_RUNTIME)
    return is_foreign and OUT_OF_MEMORY.search(str(error)) is not None


def _memory_error(action: str) -> EngineError:
    return EngineError(
        f"Memory ran out while ONNX Runtime {onnxruntime.__version__} {action}: lower --size or --batch, close other "
        "programs, or use a machine with more memory."
    )


def _reason(error: Exception) -> str:
    return reason_of(error) or type(error).__name__
