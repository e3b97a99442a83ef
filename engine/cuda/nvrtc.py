"""Compilation of CUDA C++ with NVRTC, NVIDIA's compiler library, which comes with torch; results are cached on disk.

Only the C interface of NVRTC is used (its documentation, chapter "Basic Usage"), by ctypes, so that no compiler has to
be installed.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fairmot.core.errors import ConfigError, OutputError
from fairmot.core.files import write_whole
from fairmot.core.trust import keep_private, private_cache, require_private

_log = logging.getLogger(__name__)

# Sums round as in NumPy and OpenCV: no fused multiply-add.
_OPTIONS = ("--std=c++17", "--fmad=false")
_DIGEST = hashlib.sha256().digest_size


def compile_cached(source: Path, capability: tuple[int, int]) -> bytes:
    """Return the machine code of a CUDA source for one GPU, from the cache or compiled now.

    Args:
        source: a `.cu` file without includes.
        capability: compute capability of the GPU, (9, 0) for an H200.

    Returns:
        A cubin; PTX, which the driver compiles, if the GPU is newer than NVRTC.

    Raises:
        ConfigError: if there is no NVRTC, or other users can change what the cache holds.
    """
    code = source.read_bytes()
    nvrtc = Nvrtc.load()
    target = nvrtc.target(capability)
    key = hashlib.sha256("\n".join((*_OPTIONS, target, nvrtc.version)).encode() + b"\0" + code).hexdigest()
    try:
        path = private_cache("kernels") / f"{source.stem}_{target}_{key[:32]}"
    except OutputError as error:
        _log.info("The compiled kernels are not cached: %s", error)
        return nvrtc.compile(code, source.name, target)
    compiled = _read(path)
    if compiled is None:
        compiled = nvrtc.compile(code, source.name, target)
        _write(path, compiled)
    return compiled


class Nvrtc:
    """The compiler library.

    Attributes:
        version: of the library, as `13.0`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Nvrtc:
        """Load the library that torch uses, or any other that is installed.

        Raises:
            ConfigError: if there is none.
        """
        for name in _library_names():
            try:
                library = ctypes.CDLL(name)
            except OSError:
                continue
            if hasattr(library, "nvrtcVersion"):
                _load_builtins()
                return cls(library)
        raise ConfigError(
            "NVIDIA's run-time compiler NVRTC is missing: install torch built for CUDA, or nvidia-cuda-nvrtc."
        )

    def target(self, capability: tuple[int, int]) -> str:
        """Return the architecture to compile for: `sm_90`, or `compute_90` if this NVRTC is older than the GPU."""
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", known)
        wanted = 10 * capability[0] + capability[1]
        older = [number for number in known if number <= wanted]
        if not older:
            raise ConfigError(
                f"A GPU of compute capability {capability[0]}.{capability[1]} is too old for CUDA {self.version}, "
                f"which needs at least {min(known) / 10}: use another GPU, or torch built for an older CUDA."
            )
        return f"{'sm' if wanted in older else 'compute'}_{wanted if wanted in older else max(older)}"

    def compile(self, code: bytes, name: str, target: str) -> bytes:
        """Compile `code`, called `name` in messages, to a cubin (`sm_90`) or to PTX (`compute_90`).

        Raises:
            RuntimeError: if it does not compile, with the compiler's messages.
        """
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), code, name.encode(), 0, None, None)
        try:
            options = [option.encode() for option in (f"--gpu-architecture={target}", *_OPTIONS)]
            array = (ctypes.c_char_p * len(options))(*options)
            if self._library.nvrtcCompileProgram(program, len(options), array):
                log = self._text("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")
                raise RuntimeError(f"NVRTC {self.version} cannot compile {name} for {target}:\n{log}")
            return self._text("nvrtcGetCUBIN" if target.startswith("sm") else "nvrtcGetPTX", program)
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _text(self, function: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{function}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(function, program, buffer)
        return buffer.raw

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise RuntimeError(f"{function}: {self._library.nvrtcGetErrorString(status).decode()}")


def _library_names() -> Iterator[str]:
    torch = importlib.util.find_spec("torch")
    if torch is not None and torch.origin is not None:
        # Links the NVRTC that fits this torch, so its functions are found through it.
        yield str(Path(torch.origin).parent / "lib" / "libcaffe2_nvrtc.so")
    wheels = importlib.util.find_spec("nvidia")
    for folder in (wheels.submodule_search_locations or []) if wheels is not None else []:
        yield from map(str, sorted(Path(folder).glob("*/lib/libnvrtc.so.*"), reverse=True))
    yield from (f"libnvrtc.so.{major}" for major in (13, 12, 11))
    yield "libnvrtc.so"


def _load_builtins() -> None:
    """Load the second library of NVRTC, which it opens by its bare name, from the folder of the first."""
    try:
        maps = Path("/proc/self/maps").read_text().split()
    except OSError:
        return
    folders = {Path(word).parent for word in maps if Path(word).name.startswith("libnvrtc.so")}
    for builtins in (path for folder in folders for path in folder.glob("libnvrtc-builtins.so*")):
        ctypes.CDLL(str(builtins))


def _read(path: Path) -> bytes | None:
    """Return the code that `_write` stored, or None if there is none or it is damaged."""
    try:
        stored = require_private(path, "compiled kernel").read_bytes()
    except OSError:
        return None
    digest, compiled = stored[:_DIGEST], stored[_DIGEST:]
    return compiled if hashlib.sha256(compiled).digest() == digest else None


def _write(path: Path, compiled: bytes) -> None:
    """Store the code atomically: several processes may start together."""
    try:
        write_whole(path, hashlib.sha256(compiled).digest() + compiled)
        keep_private(path)
    except OutputError as error:
        _log.info("The compiled kernels are not cached: %s", error)
