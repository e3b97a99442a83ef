"""Compilation of the kernel sources, the cache of compiled kernels, and reasons why a GPU cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fairmot.core import trust
from fairmot.core.errors import ConfigError
from fairmot.engine.cuda import nvrtc

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted((ROOT / "engine" / "cuda" / "kernels").glob("*.cu"))


def test_there_are_sources() -> None:
    assert [source.name for source in SOURCES] == ["decode.cu", "letterbox.cu"]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_compiles_without_warnings_from_turing_to_hopper(source: Path, tmp_path: Path) -> None:
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in (75, 80, 86, 89, 90)]
    options = ["-std=c++17", "--fmad=false", "-Werror=all-warnings", "-Xptxas=-warn-spills,-Werror", "--threads=2"]
    done = subprocess.run(
        ["nvcc", *options, *targets, "-fatbin", "-o", tmp_path / "out", source], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.replace("Wno-deprecated-gpu-targets", "")


@pytest.fixture
def compiler() -> nvrtc.Nvrtc:
    try:
        return nvrtc.Nvrtc.load()
    except ConfigError as error:
        pytest.skip(str(error))


def test_nvrtc_compiles_once(compiler: nvrtc.Nvrtc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path))
    source = tmp_path / "one.cu"
    shutil.copy(SOURCES[0], source)
    first = nvrtc.compile_cached(source, (9, 0))
    assert first.startswith(b"\x7fELF")
    (kept,) = (tmp_path / "kernels").iterdir()
    written = kept.stat().st_mtime_ns
    assert nvrtc.compile_cached(source, (9, 0)) == first
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:-1])  # a damaged file is made again
    assert nvrtc.compile_cached(source, (9, 0)) == first
    assert kept.stat().st_mtime_ns != written
    nvrtc.compile_cached(source, (8, 0))
    source.write_text(source.read_text() + "\n")
    nvrtc.compile_cached(source, (9, 0))
    assert len(list((tmp_path / "kernels").iterdir())) == 3


def test_nvrtc_works_without_a_cache(compiler: nvrtc.Nvrtc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "file"))
    assert nvrtc.compile_cached(SOURCES[0], (9, 0)).startswith(b"\x7fELF")


def test_nvrtc_and_gpus_older_and_newer(compiler: nvrtc.Nvrtc) -> None:
    with pytest.raises(ConfigError, match="too old"):
        compiler.target((2, 0))
    target = compiler.target((99, 0))
    assert target.startswith("compute_")
    assert b".visible .entry times" in compiler.compile(
        b'extern "C" __global__ void times(float* x) { x[threadIdx.x] *= 2.f; }', "times.cu", target
    )


def test_nvrtc_errors_name_the_line(compiler: nvrtc.Nvrtc) -> None:
    with pytest.raises(RuntimeError, match=r"broken\.cu\(2\): error"):
        compiler.compile(b"\nint broken(", "broken.cu", "sm_90")


def test_cached_code_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "code"
    assert nvrtc._read(path) is None
    nvrtc._write(path, b"code")
    assert nvrtc._read(path) == b"code"
    path.write_bytes(path.read_bytes()[:-1])
    assert nvrtc._read(path) is None


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FAIRMOT_CACHE", raising=False)
    assert trust.cache_folder() == tmp_path / "fairmot"
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "own"))
    assert trust.cache_folder() == tmp_path / "own"


DRIVER = """
#include <stdlib.h>
int cuInit(unsigned flags) { return atoi(getenv("DRIVER_STATUS")); }
int cuDeviceGetCount(int* count) { *count = atoi(getenv("DRIVER_COUNT")); return 0; }
int cuDriverGetVersion(int* version) { *version = atoi(getenv("DRIVER_VERSION")); return 0; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux")
@pytest.mark.parametrize(
    ("torch", "pycuda", "driver", "message"),
    [
        ("cuda: Optional[str] = '13.0'", True, (0, 1, 13000), "None"),
        ("cuda: Optional[str] = '12.8'", True, (0, 1, 13000), "None"),
        ("cuda: Optional[str] = '12.8'", True, (0, 1, 12020), "None"),
        ("cuda: Optional[str] = '13.0'", True, (0, 1, 12080), "The NVIDIA driver is for CUDA 12.8 but torch for 13.0"),
        ("cuda: Optional[str] = '13.0'", True, (100, 0, 13000), "finds no GPU (error 100)"),
        ("cuda: Optional[str] = '13.0'", True, (0, 0, 13000), "finds no GPU (error 0)"),
        ("cuda: Optional[str] = None", True, (0, 1, 13000), "built for the CPU only"),
        ("cuda: Optional[str] = '13.0'", False, (0, 1, 13000), "pycuda is missing"),
        (None, True, (0, 1, 13000), "torch is missing"),
    ],
)
def test_reasons_why_the_gpu_cannot_be_used(
    torch: str | None, pycuda: bool, driver: tuple[int, int, int], message: str, tmp_path: Path
) -> None:
    """With a driver library and packages that hold only the parts that are read."""
    packages = tmp_path / "packages"
    if torch is not None:
        (packages / "torch").mkdir(parents=True)
        (packages / "torch" / "__init__.py").write_text("raise RuntimeError('not to be imported')")
        (packages / "torch" / "version.py").write_text(f"__all__ = ['cuda']\n{torch}\nhip = None\n")
    if pycuda:
        (packages / "pycuda").mkdir(parents=True)
        (packages / "pycuda" / "__init__.py").write_text("")
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.c"], check=True)
    for name in ("core/errors.py", "core/files.py", "core/trust.py", "engine/cuda/gpu.py", "engine/cuda/nvrtc.py"):
        (packages / "fairmot" / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, packages / "fairmot" / name)
    status, count, version = map(str, driver)
    environment = {"DRIVER_STATUS": status, "DRIVER_COUNT": count, "DRIVER_VERSION": version}
    # -S: the site packages of this environment, with its torch, stay out.
    code = (
        f"import sys; sys.path.insert(0, {str(packages)!r})\n"
        "from fairmot.engine.cuda.gpu import gpu_unavailable_reason; print(gpu_unavailable_reason())"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code],
        env=os.environ | environment | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
    assert done.stdout.count("\n") == 1
