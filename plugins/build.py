"""Compile the TensorRT plugins with nvcc."""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fairmot.core.errors import ConfigError, OutputError
from fairmot.core.trust import keep_private, private_cache, private_folder, require_private
from fairmot.engine.cuda.driver import find_driver
from fairmot.plugins.library import (
    SOURCES,
    PluginLibrary,
    Version,
    dotted,
    installed_tensorrt,
    library_folders,
    library_name,
    source_version,
)

_logger = logging.getLogger(__name__)

_TOOLKIT = Path("/usr/local/cuda")
_OLDEST_ARCHITECTURE = 80  # the kernels copy with cp.async and multiply with mma.m16n8k16
_LOG_LINES = 40  # of a compiler's messages that are logged
_FLAGS = ("-std=c++17", "-O3", "--threads", "0", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra")


@dataclass(frozen=True)
class Headers:
    """TensorRT's headers: their folder and version."""

    folder: Path
    version: Version

    @classmethod
    def read(cls, folder: Path) -> Headers | None:
        """Return the headers in `folder`, or None if it has none."""
        try:
            text = (folder / "NvInferVersion.h").read_text(errors="replace")
        except OSError:
            return None
        if not (folder / "NvInferRuntime.h").is_file():
            return None
        macros: dict[str, str] = dict(re.findall(r"#define (\w+) +(\w+)", text))
        version = []
        for part in ("MAJOR", "MINOR", "PATCH"):
            value = macros.get(f"NV_TENSORRT_{part}", "")
            version.append(macros.get(value, value))  # since 10, NV_TENSORRT_MAJOR is TRT_MAJOR_ENTERPRISE
        return cls(folder, tuple(map(int, version))) if all(number.isdigit() for number in version) else None


def find_nvcc() -> Path:
    """Return CUDA's compiler: on the PATH, in CUDA_HOME, in /usr/local/cuda or in NVIDIA's wheels.

    Raises:
        ConfigError: if there is none.
    """
    on_path = shutil.which("nvcc")
    if on_path:
        return Path(on_path)
    homes = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    homes.append(_TOOLKIT)
    homes += [home for folder in sys.path for home in sorted((Path(folder) / "nvidia").glob("cu*"))]
    for home in homes:
        if os.access(home / "bin" / "nvcc", os.X_OK):
            return home / "bin" / "nvcc"
    raise ConfigError(
        "CUDA's compiler nvcc was not found; install the CUDA toolkit (https://developer.nvidia.com/cuda-downloads), "
        "or set CUDA_HOME to its folder."
    )


def _header_folders() -> Iterator[Path]:
    """Yield the usual folders of TensorRT's headers."""
    yield from (Path("/usr/include") / machine for machine in ("x86_64-linux-gnu", "aarch64-linux-gnu", "."))
    for root in (Path("/usr/local"), Path("/opt"), Path("/usr/src")):
        yield from (home / "include" for home in sorted(root.glob("[Tt]ensor[Rr][Tt]*"), reverse=True))
    yield from (Path(os.environ[name]) / "include" for name in ("CONDA_PREFIX",) if os.environ.get(name))
    yield Path(sys.prefix) / "include"


def find_headers(named: Path | None, tensorrt: Version | None) -> Headers:
    """Return TensorRT's headers from the named folder, from TENSORRT_INCLUDE or from a usual folder.

    Args:
        named: the folder that the user names, if any.
        tensorrt: the version they must be of, major and minor; None takes the first found.

    Raises:
        ConfigError: if there are none, or none of this version.
    """
    branch = f"release/{'MAJOR.MINOR' if tensorrt is None else dotted(tensorrt[:2])}"
    remedy = (
        f"run `git clone --depth 1 --branch {branch} https://github.com/NVIDIA/TensorRT` and pass "
        "`--tensorrt-include TensorRT/include`."
    )
    chosen = named or (Path(os.environ["TENSORRT_INCLUDE"]) if os.environ.get("TENSORRT_INCLUDE") else None)
    if chosen is not None:
        headers = Headers.read(chosen)
        if headers is None:
            raise ConfigError(f"{chosen} does not hold TensorRT's headers (NvInferVersion.h); {remedy}")
        if tensorrt is not None and headers.version[:2] != tensorrt[:2]:
            raise ConfigError(
                f"The headers in {chosen} are of TensorRT {dotted(headers.version[:2])}, but {dotted(tensorrt[:2])} is "
                f"installed; {remedy}"
            )
        return headers
    for folder in _header_folders():
        headers = Headers.read(folder)
        if headers is not None and (tensorrt is None or headers.version[:2] == tensorrt[:2]):
            return headers
    version = "" if tensorrt is None else f" {dotted(tensorrt[:2])}"
    raise ConfigError(f"The headers of TensorRT{version} were not found, wheels carry none; {remedy}")


def parse_architectures(text: str | None) -> list[int]:
    """Return compute capabilities from text as in "80,86,90", or that of the first GPU.

    Raises:
        ConfigError: if the text is something else, there is no GPU, or one is too old.
    """
    if text is None:
        driver = find_driver()
        if driver is None:
            raise ConfigError(
                "There is no NVIDIA GPU to build for; name compute capabilities, as in `--architectures 80,86,90`."
            )
        major, minor = driver.compute_capability
        wanted = [10 * major + minor]
    else:
        parts = [part.strip().replace(".", "") for part in text.split(",")]
        if not all(re.fullmatch(r"\d{2,3}", part) for part in parts):
            raise ConfigError(f'--architectures takes compute capabilities, as in 80,86,90, not "{text}".')
        wanted = sorted({int(part) for part in parts})
    if wanted[0] < _OLDEST_ARCHITECTURE:
        raise ConfigError(
            f"The plugins need a GPU of compute capability 8.0 (Ampere) or later, not {wanted[0] / 10}; "
            "build the engine with `--dcn native` for it."
        )
    return wanted


def default_output() -> Path:
    """Return the folder for the library: the package's own if the user, and no other, may write it, else the cache."""
    package, user = library_folders()
    existing = package if package.exists() else package.parent
    if not os.access(existing, os.W_OK):
        return user
    try:
        require_private(existing, "plugin folder")
    except (ConfigError, OSError):
        return user
    return package


def _run(command: Sequence[str | Path], what: str) -> str:
    """Run nvcc and return its output; `what` names the step in errors."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    log = (result.stderr + result.stdout).strip()
    if result.returncode:
        _logger.error("%s", "\n".join(log.splitlines()[:_LOG_LINES]))
        first = next((line for line in log.splitlines() if re.search("error|fatal", line, re.IGNORECASE)), "no message")
        raise ConfigError(f"nvcc could not {what}: {first}")
    return log


def build(
    architectures: str | None = None,
    tensorrt_include: Path | None = None,
    output: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> PluginLibrary:
    """Compile the plugins.

    Args:
        architectures: compute capabilities as in "80,86,90"; None means that of the first GPU.
        tensorrt_include: folder of TensorRT's headers; None searches the usual ones.
        output: folder for the library; None means `default_output()`.
        report: called with one line for each step.

    Returns:
        The new library.

    Raises:
        ConfigError: if a tool, the headers or the GPU is missing, the compiler fails, or other users can write to
            the folder.
        OutputError: if the folder cannot be written.
    """
    wanted = parse_architectures(architectures)
    nvcc = find_nvcc()
    if shutil.which("g++") is None and shutil.which("c++") is None:
        raise ConfigError("nvcc needs a C++ compiler; install g++, as in `apt install g++`.")
    headers = find_headers(tensorrt_include, installed_tensorrt())
    release = re.search(r"release ([\d.]+)", _run([nvcc, "--version"], "say its version"))
    report(f"nvcc {release[1] if release else '?'}: {nvcc}")
    report(f"TensorRT {dotted(headers.version)} headers: {headers.folder}")
    report(f"compute capability {', '.join(map(str, wanted))}; sources {source_version()}")
    folder = output or default_output()
    if folder == library_folders()[1]:
        folder = private_cache("plugins")
    target = folder / library_name(headers.version)
    try:
        private_folder(folder, "folder of the plugins", 0o755)  # many may load what root installs with the package
        with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as made:
            finished = _compile(nvcc, headers, wanted, Path(made), report)
            keep_private(finished)
            os.replace(finished, target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); pass another --output folder.") from error
    report(f"built {target}")
    return PluginLibrary.read(target)


def _compile(
    nvcc: Path, headers: Headers, architectures: Sequence[int], folder: Path, report: Callable[[str], None]
) -> Path:
    """Compile every source beside the others, link, and return the library in `folder`."""
    # Hopper's wgmma exists only in the target named 90a.
    targets = ["90a" if number == 90 else str(number) for number in architectures]
    code = [f"-gencode=arch=compute_{target},code=sm_{target}" for target in targets]
    separator = r"\,"  # nvcc splits values at commas
    defines = [
        f"-DFAIRMOT_PLUGINS_VERSION={source_version()}",
        f"-DFAIRMOT_ARCHITECTURES={separator.join(map(str, architectures))}",
    ]
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".cu", ".cpp"))
    objects = [folder / f"{path.name}.o" for path in sources]
    done = itertools.count(1)

    def compile_one(source: Path, compiled: Path) -> None:
        options = [*_FLAGS, *code, *defines, "-isystem", str(headers.folder)]
        log = _run([nvcc, *options, "-c", source, "-o", compiled], f"compile {source.name}")
        report(f"[{next(done)}/{len(sources)}] {source.name}" + (f"\n{log}" if log else ""))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    library = folder / "library.so"
    _run([nvcc, "-shared", "-cudart", "static", *code, *objects, "-o", library], "link the library")
    return library
