"""TensorRT engines in files, with the metadata that must be checked before TensorRT reads one.

TensorRT's own serialized engine holds nothing that can be read without TensorRT, and deserializing one from another
GPU or version fails with a page of errors. So a plan file is: a magic line, the SHA-256 of all that follows, the length
of a header, the header as JSON, the serialized engine. The header is untrusted: every value must have its type.
"""

from __future__ import annotations

import hashlib
import json
import os
import types
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fairmot.core.errors import ConfigError, ModelError
from fairmot.core.files import write_whole
from fairmot.core.trust import keep_private, require_private
from fairmot.engine.graph.prepare import VERSION, Dcn, Precision
from fairmot.engine.model import ModelFile, ModelInfo
from fairmot.engine.settings import MAX_BATCH
from fairmot.engine.trt.layers import Layer

Record = TypeVar("Record")

_MAGIC = b"FAIRMOT PLAN 2\n"
_MAGIC_NAME = b"FAIRMOT PLAN "  # the part that all versions share
_DIGEST_BYTES = 32
_LENGTH_BYTES = 4
_LARGEST = 4 << 30  # bytes; the largest of these networks makes plans of 60 MB
_MOST_AUX_STREAMS = 16  # far more than these networks have branches


@dataclass(frozen=True)
class BuildSettings:
    """Settings of an engine build.

    Attributes:
        size: input `(width, height)` in pixels; the model's own if None.
        batches: numbers of images that it takes at once; each gets its own kernels.
        precision: `fp16`, or `fp32` without TF32.
        dcn: deformable convolutions by our plugin, by native layers, or by NVIDIA's plugin.
        aux_streams: most auxiliary streams, on which TensorRT may run branches of the network beside its main stream.
            By default TensorRT 8.6 takes none; three made dla_34 at batch 1 6 % faster on an H200
            (`benchmarks/gpu.md`). Its profiler sees no layer of an engine that has any: layer times need 0.

    Raises:
        ConfigError: if a value is out of range.
    """

    size: tuple[int, int] | None = None
    batches: tuple[int, ...] = (1,)
    precision: Precision = "fp16"
    dcn: Dcn = "plugin"
    aux_streams: int = 3

    def __post_init__(self) -> None:
        for name, value, allowed in (("precision", self.precision, Precision), ("dcn", self.dcn, Dcn)):
            if value not in get_args(allowed):
                raise ConfigError(f'{name} must be {" or ".join(get_args(allowed))}, not "{value}".')
        known = all(1 <= batch <= MAX_BATCH for batch in self.batches)
        if not self.batches or not known or len(set(self.batches)) < len(self.batches):
            raise ConfigError(f"batch must name different numbers from 1 to {MAX_BATCH}, not {_list(self.batches)}.")
        if not 0 <= self.aux_streams <= _MOST_AUX_STREAMS:
            raise ConfigError(f"aux-streams must be 0 to {_MOST_AUX_STREAMS}, not {self.aux_streams}.")

    @property
    def uses_plugins(self) -> bool:
        """Return whether the engine needs our plugin library."""
        return self.dcn == "plugin" or (self.dcn == "nvidia" and self.precision == "fp16")


@dataclass(frozen=True)
class Host:
    """A machine on which engines are built and run: they work nowhere else.

    Attributes:
        gpu: name of the GPU.
        compute_capability: `(major, minor)`.
        tensorrt: version of TensorRT.
        plugins: `fairmot.plugins.library.PluginLibrary.plan_version`; None for engines without plugins.
    """

    gpu: str
    compute_capability: tuple[int, int]
    tensorrt: str
    plugins: str | None


@dataclass(frozen=True)
class Plan:
    """A built engine and its origin.

    Attributes:
        model: metadata of the model, less if it was made elsewhere; its path is that at the time of the build.
        model_sha256: of the ONNX file.
        settings: of the build; `size` is set.
        host: of the build.
        graph_version: of the rewrites (`fairmot.engine.graph.prepare.VERSION`).
        layers: what TensorRT made of the graph.
        engine: TensorRT's serialized engine.
    """

    model: ModelFile
    model_sha256: str
    settings: BuildSettings
    host: Host
    graph_version: int
    layers: tuple[Layer, ...]
    engine: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Input `(width, height)` in pixels."""
        return self.settings.size or self.model.size

    def mismatch(self, host: Host) -> str | None:
        """Return the difference between the plan and the machine that is to run it; None if there is none."""
        own = self.host
        if (own.gpu, own.compute_capability) != (host.gpu, host.compute_capability):
            return f"it was built on a {_gpu(own)}, not on this {_gpu(host)}"
        if own.tensorrt != host.tensorrt:
            return f"it was built with TensorRT {own.tensorrt}, not {host.tensorrt}"
        if own.plugins != host.plugins and own.plugins is not None:
            return f"it was built with plugins {own.plugins}, not {host.plugins or 'none'}"
        if self.graph_version != VERSION:
            return f"it was built from graph version {self.graph_version}, not {VERSION}"
        return None

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read and check a plan file.

        Raises:
            ConfigError: if other users can change it: TensorRT runs what it contains.
            ModelError: if it is missing, is no plan, or is truncated or damaged.
        """
        try:
            path = require_private(path, "plan")
            with path.open("rb") as file:
                start = file.read(len(_MAGIC))
                _check_magic(start, path)
                data = file.read(min(os.fstat(file.fileno()).st_size, _LARGEST))  # it allocates all that
        except (OSError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not enough memory"
            raise ModelError(f"The plan {path} cannot be read: {reason}.") from error
        rest = memoryview(data)[_DIGEST_BYTES:]
        length = int.from_bytes(rest[:_LENGTH_BYTES], "little")
        is_whole = hashlib.sha256(rest).digest() == data[:_DIGEST_BYTES] and length + _LENGTH_BYTES <= len(rest)
        if not is_whole or len(data) == _LARGEST:
            raise ModelError(f"The plan {path} is truncated or damaged: build it again with `fairmot build`.")
        end = _LENGTH_BYTES + length
        return cls(engine=bytes(rest[end:]), **_metadata(bytes(rest[_LENGTH_BYTES:end]), path))

    def write(self, path: Path) -> None:
        """Write the plan; the file appears whole or not at all.

        Raises:
            OutputError: if it cannot be written.
        """
        header = asdict(self)
        del header["engine"]
        # Fields at their default are left out: they are newer than the plans in caches.
        defaults = {each.name: each.default for each in fields(self.model)}
        model = {name: value for name, value in header["model"].items() if value != defaults[name]}
        header["model"] = model | {"path": str(self.model.path)}
        text = json.dumps(header, separators=(",", ":")).encode()
        rest = len(text).to_bytes(_LENGTH_BYTES, "little") + text + self.engine
        write_whole(path, _MAGIC + hashlib.sha256(rest).digest() + rest)
        keep_private(path)


def _check_magic(start: bytes, path: Path) -> None:
    """Raise `ModelError` unless a file that begins so may be a plan of this version, perhaps a truncated one."""
    if not start.startswith(_MAGIC_NAME[: len(start)]) or not start:
        raise ModelError(f"{path} is not a plan: give a file that `fairmot build` wrote.")
    if not start.startswith(_MAGIC[: len(start)]):
        raise _other_version(path)


def _metadata(header: bytes, path: Path) -> dict[str, Any]:
    """Return the attributes of a plan from its header, which is JSON."""
    try:
        values = json.loads(header)
        model = values["model"]
        settings = _read_record(BuildSettings, values["settings"])
        if settings.size is None or type(values["graph_version"]) is not int or type(values["model_sha256"]) is not str:
            raise ValueError("no size, or a version of the wrong type")
        return {
            "model": _read_record(ModelInfo if "architecture" in model else ModelFile, model),
            "model_sha256": values["model_sha256"],
            "settings": settings,
            "host": _read_record(Host, values["host"]),
            "graph_version": values["graph_version"],
            "layers": tuple(_read_record(Layer, layer) for layer in values["layers"]),
        }
    except (LookupError, TypeError, ValueError, RecursionError, ConfigError) as error:
        raise _other_version(path) from error


def _other_version(path: Path) -> ModelError:
    return ModelError(
        f"The plan {path} was written by another version of this program: build it again with `fairmot build`."
    )


def _gpu(host: Host) -> str:
    major, minor = host.compute_capability
    return f"{host.gpu} (sm_{major}{minor})"


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) or "none"


def _read_record(kind: type[Record], values: Any) -> Record:
    """Return a dataclass from a JSON object.

    Args:
        kind: the dataclass; its fields are numbers, text, paths, literals, tuples of these, or other such dataclasses.
        values: the object.

    Raises:
        ValueError: if a field is missing that `Plan.write` never leaves out, or one is unknown or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is not an object")
    hints = get_type_hints(kind)
    members = fields(kind)  # type: ignore[arg-type] # it is a dataclass
    optional = {each.name for each in members if kind is ModelInfo and each.default is not MISSING}
    names = {each.name for each in members}
    if not names - optional <= set(values) <= names:
        raise ValueError(f"{kind.__name__} has other fields")
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _value(kind: Any, value: Any) -> Any:
    """Return a JSON value as `kind`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value in inner:
            return value
    elif origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (other,) = (each for each in inner if each is not type(None))
        return _value(other, value)
    elif origin is tuple:
        if isinstance(value, list):
            wanted = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
            return tuple(_value(each, item) for each, item in zip(wanted, value, strict=True))
    elif kind is Path:
        if isinstance(value, str):
            return Path(value)
    elif kind is float:
        if type(value) in (int, float):
            return float(value)
    elif kind in (int, str, bool):
        if type(value) is kind:
            return value
    else:
        return _read_record(kind, value)
    raise ValueError(f"{value!r:.40} is not {kind}")
