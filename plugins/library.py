"""The built plugin library: its location, its compatibility with this machine, and its loading by TensorRT.

Loading a library runs its constructors. So its owner and mode are checked first (`fairmot.core.trust`), and
its metadata is read from the bytes of the file; only one that fits is loaded, by TensorRT.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import mmap
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from fairmot.core.errors import ConfigError
from fairmot.core.trust import cache_folder, require_private
from fairmot.engine.cuda.driver import Driver, find_driver
from fairmot.engine.cuda.gpu import gpu_unavailable_reason

SOURCES = Path(__file__).resolve().parent / "src"
_SOURCE_SUFFIXES = (".cpp", ".cu", ".cuh", ".h")
BUILD_COMMAND = "fairmot plugins"

COMPATIBLE_SOURCES = {
    "f290c452d31b1a2a": "2789a5122c9d6bd3",  # 64 to 64 channels with resident weights, formatting, names, refusals
}
"""Digest that plans carry, by the digest of sources that serialize and run as those of that digest.

A plan stays valid as long as the sources that it was built with and those of the library have the same digest here.
Kernels that differ in the rounding of their half-precision results are compatible. Sources that are not listed carry
their own digest, so that a change of attributes or formats makes new plans.
"""

_MARK = b"FAIRMOT PLUGINS "  # before the metadata, in plugins/src/registration.cpp
_MOST_BYTES = 4096  # of the metadata

Version = tuple[int, ...]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PluginLibrary:
    """A built library and its metadata.

    Attributes:
        path: the file.
        version: digest of the sources it was built from.
        tensorrt: version of the TensorRT headers, as in (8, 6, 0).
        cuda: version of the CUDA toolkit, as in "13.0".
        architectures: compute capabilities it has code for, as in (80, 90).
    """

    path: Path
    version: str
    tensorrt: Version
    cuda: str
    architectures: tuple[int, ...]

    @classmethod
    def read(cls, path: Path) -> PluginLibrary:
        """Read the metadata of the library at `path`, without loading it.

        Raises:
            ConfigError: if other users can change it, or it is no plugin library of this project.
        """
        try:
            path = require_private(path, "plugin library")
            metadata = json.loads(_metadata(path))
            cudart, tensorrt, architectures = metadata["cudart"], metadata["tensorrt"], metadata["architectures"]
            if not all(isinstance(number, int) for number in (cudart, *tensorrt, *architectures)):
                raise ValueError("its metadata is of the wrong type")
            # CUDART_VERSION, cuda_runtime_api.h: 1000 * major + 10 * minor
            cuda = f"{cudart // 1000}.{cudart % 1000 // 10}"
            return cls(path, str(metadata["version"]), tuple(tensorrt), cuda, tuple(architectures))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            detail = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigError(f"{path} cannot be read ({detail}); run `{BUILD_COMMAND}` again.") from error

    @property
    def plan_version(self) -> str:
        """The digest that plans of this library carry."""
        return COMPATIBLE_SOURCES.get(self.version, self.version)

    def mismatch(self, tensorrt: Version, driver: Driver | None) -> str | None:
        """Return the reason why the library cannot serve this TensorRT and GPU, or None."""
        if self.version != source_version():
            return f"{self.path} was built from other sources; run `{BUILD_COMMAND}` again."
        if self.tensorrt[:2] != tensorrt[:2]:
            return (
                f"{self.path} was built for TensorRT {dotted(self.tensorrt[:2])}, but {dotted(tensorrt[:2])} is "
                f"installed; run `{BUILD_COMMAND}` again."
            )
        if driver is None:
            return None
        if driver.cuda[0] < int(self.cuda.split(".")[0]):
            return (
                f"{self.path} was built with CUDA {self.cuda}, but the driver runs CUDA {dotted(driver.cuda)}; update "
                f"the driver, or run `{BUILD_COMMAND}` with an older toolkit."
            )
        # Machine code runs on GPUs of the same major and the same or a later minor version.
        major, minor = driver.compute_capability
        if not any(built // 10 == major and built % 10 <= minor for built in self.architectures):
            built = ", ".join(str(architecture) for architecture in self.architectures)
            return (
                f"{self.path} has code for compute capability {built} but none for this GPU ({major}{minor}); "
                f"run `{BUILD_COMMAND}` on this machine, or with --architectures {major}{minor}."
            )
        return None


def _metadata(path: Path) -> bytes:
    """Return the metadata in the bytes of a library, JSON.

    Raises:
        ValueError: if it holds none.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_MARK + b"{")
        if start < 0:
            raise ValueError("it has no metadata")
        return content[start + len(_MARK) : start + _MOST_BYTES].partition(b"\0")[0]


def dotted(version: Version) -> str:
    """Return a version as text, as in 8.6."""
    return ".".join(str(part) for part in version)


@cache
def source_version() -> str:
    """Return the digest of the sources in `plugins/src`, which a library built from them carries."""
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCES.iterdir() if path.suffix in _SOURCE_SUFFIXES):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def library_name(tensorrt: Version) -> str:
    """Return the file name of the library for a TensorRT version."""
    return f"libfairmot_plugins_trt{tensorrt[0]}.so"


def library_folders() -> list[Path]:
    """Return the folders that may hold a built library, the preferred one first."""
    return [Path(__file__).resolve().parent / "_built", cache_folder() / "plugins"]


def installed_tensorrt() -> Version | None:
    """Return the version of the installed `tensorrt` package without importing it, or None."""
    for package in ("tensorrt", "tensorrt_bindings"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found = re.search(r'^__version__ = "([\d.]+)', Path(spec.origin).read_text(), re.MULTILINE)
            if found:
                return parse_version(found[1])
    try:
        return parse_version(importlib.metadata.version("tensorrt"))
    except importlib.metadata.PackageNotFoundError:
        return None


_NOT_INSTALLED = "TensorRT is not installed; run `pip install tensorrt`."


def tensorrt_unavailable_reason() -> str | None:
    """Return the reason why TensorRT cannot run here, or None; then it is loaded."""
    return gpu_unavailable_reason() or loading_error()


def loading_error() -> str | None:
    """Return the reason why TensorRT, torch or pycuda cannot be loaded, or None if they are loaded now.

    They are installed more often than they can be loaded: their wheels and CUDA's have to fit each other. Slow, and
    of no use without a GPU: ask `fairmot.engine.cuda.gpu.gpu_unavailable_reason` first.
    """
    if installed_tensorrt() is None:
        return _NOT_INSTALLED
    for package in ("tensorrt", "torch", "pycuda.driver"):
        try:
            importlib.import_module(package)
        except (ImportError, OSError, RuntimeError) as error:
            detail = " ".join(str(error).split()).rstrip(".")
            return f"The installed {package.partition('.')[0]} cannot be loaded ({detail}); install it again."
    return None


def parse_version(text: str) -> Version:
    """Return the first three numbers of a version, as in (8, 6, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def find(tensorrt: Version) -> PluginLibrary:
    """Return the library that fits this TensorRT and the first GPU.

    Raises:
        ConfigError: if none is built, or none that is built fits.
    """
    paths = [folder / library_name(tensorrt) for folder in library_folders()]
    driver = find_driver()
    mismatches = []
    for path in filter(Path.is_file, paths):
        try:
            library = PluginLibrary.read(path)
        except ConfigError as error:
            mismatches.append(str(error))
            continue
        mismatch = library.mismatch(tensorrt, driver)
        if mismatch is None:
            return library
        mismatches.append(mismatch)
    if mismatches:
        raise ConfigError(mismatches[0])
    raise ConfigError(f"The plugins are not built for TensorRT {dotted(tensorrt[:2])}; run `{BUILD_COMMAND}`.")


def unavailable_reason() -> str | None:
    """Return the reason why no plugin library can be loaded here, or None."""
    tensorrt = installed_tensorrt()
    if tensorrt is None:
        return _NOT_INSTALLED
    try:
        find(tensorrt)
    except ConfigError as error:
        return str(error)
    return None


_loaded: dict[str, PluginLibrary] = {}


def load(tensorrt: ModuleType) -> PluginLibrary:
    """Register our plugins with TensorRT, once per process.

    Args:
        tensorrt: the imported `tensorrt` package.

    Returns:
        The library that was loaded.

    Raises:
        ConfigError: if no library fits, or TensorRT refuses it.
    """
    version: str = tensorrt.__version__
    if version not in _loaded:
        library = find(parse_version(version))
        if tensorrt.get_plugin_registry().load_library(str(library.path)) is None:
            raise ConfigError(f"TensorRT {version} refuses {library.path}; run `{BUILD_COMMAND}` again.")
        _logger.info("Plugins: %s, version %s", library.path, library.version)
        _loaded[version] = library
    return _loaded[version]
