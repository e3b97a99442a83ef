"""Search of compiler and headers, compatibility of the library, and the error messages on the way."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from support.commands import plugins as main

from fairmot.core.errors import ConfigError, OutputError
from fairmot.engine.cuda.driver import Driver
from fairmot.engine.model import ModelFile
from fairmot.engine.trt.cache import plan_path
from fairmot.engine.trt.plan import BuildSettings, Host
from fairmot.plugins import build, library
from fairmot.plugins.build import Headers, find_headers, find_nvcc, parse_architectures
from fairmot.plugins.library import COMPATIBLE_SOURCES, PluginLibrary, source_version

HOPPER = Driver(cuda=(13, 0), compute_capability=(9, 0))


def headers(folder: Path, version: tuple[int, int, int]) -> Path:
    """Write headers of a version as NVIDIA does: since 10 by way of another macro."""
    folder.mkdir(parents=True)
    (folder / "NvInferRuntime.h").touch()
    prefix = "NV_TENSORRT" if version[0] < 10 else "TRT"
    suffix = "" if version[0] < 10 else "_ENTERPRISE"
    parts = dict(zip(("MAJOR", "MINOR", "PATCH"), version, strict=True))
    lines = [f"#define {prefix}_{part}{suffix} {number} //!< TensorRT version." for part, number in parts.items()]
    if suffix:
        lines += [f"#define NV_TENSORRT_{part} TRT_{part}_ENTERPRISE //!< TensorRT version." for part in parts]
    (folder / "NvInferVersion.h").write_text("\n".join(lines))
    return folder


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without headers, GPU or toolkit."""
    for name in ("TENSORRT_INCLUDE", "CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(build, "_header_folders", lambda: iter([tmp_path / "none"]))
    monkeypatch.setattr(build, "find_driver", lambda: None)


@pytest.mark.parametrize("version", [(8, 6, 0), (10, 16, 1), (11, 1, 0)])
def test_version_of_headers(tmp_path: Path, version: tuple[int, int, int]) -> None:
    folder = headers(tmp_path / "include", version)
    assert Headers.read(folder) == Headers(folder, version)


def test_folder_without_headers(tmp_path: Path) -> None:
    assert Headers.read(tmp_path) is None
    (tmp_path / "NvInferVersion.h").write_text("// nothing")
    (tmp_path / "NvInferRuntime.h").touch()
    assert Headers.read(tmp_path) is None


@pytest.mark.usefixtures("nothing_installed")
class TestHeaders:
    def test_missing_headers_say_how_to_get_them(self) -> None:
        with pytest.raises(ConfigError, match=r"headers of TensorRT 8\.6 were not found.*--branch release/8\.6 https"):
            find_headers(None, (8, 6, 1))
        with pytest.raises(ConfigError, match=r"TensorRT 10\.16 were not found.*--branch release/10\.16 https"):
            find_headers(None, (10, 16, 1))

    def test_named_folder_must_hold_headers(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"does not hold TensorRT's headers.*--tensorrt-include TensorRT/include"):
            find_headers(tmp_path, (8, 6, 0))

    def test_named_folder_must_fit_the_installed_version(self, tmp_path: Path) -> None:
        folder = headers(tmp_path / "include", (10, 13, 0))
        with pytest.raises(ConfigError, match=r"of TensorRT 10\.13, but 10\.16 is installed.*--branch release/10\.16"):
            find_headers(folder, (10, 16, 1))
        assert find_headers(folder, (10, 13, 2)).folder == folder
        assert find_headers(folder, None).version == (10, 13, 0)

    def test_environment_names_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = headers(tmp_path / "include", (8, 6, 0))
        monkeypatch.setenv("TENSORRT_INCLUDE", str(folder))
        assert find_headers(None, (8, 6, 1)).folder == folder

    def test_search_passes_over_other_versions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other, fits = headers(tmp_path / "a", (11, 1, 0)), headers(tmp_path / "b", (10, 16, 0))
        monkeypatch.setattr(build, "_header_folders", lambda: iter([tmp_path / "none", other, fits]))
        assert find_headers(None, (10, 16, 1)).folder == fits
        assert find_headers(None, None).folder == other

    def test_missing_compiler_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(build, "_TOOLKIT", Path("/nowhere"))
        with pytest.raises(ConfigError, match=r"nvcc was not found; install the CUDA toolkit .* or set CUDA_HOME"):
            find_nvcc()

    def test_compiler_in_cuda_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.setenv("CUDA_HOME", str(tmp_path))
        nvcc = tmp_path / "bin" / "nvcc"
        nvcc.parent.mkdir()
        nvcc.touch(0o755)
        assert find_nvcc() == nvcc

    def test_without_gpu_architectures_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == ConfigError.exit_code
        assert "There is no NVIDIA GPU to build for; name compute capabilities" in capsys.readouterr().err


def test_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_architectures("90, 8.6,90") == [86, 90]
    monkeypatch.setattr(build, "find_driver", lambda: HOPPER)
    assert parse_architectures(None) == [90]
    for wrong in ("", "sm_90", "9", "90;86"):
        with pytest.raises(ConfigError, match=f'as in 80,86,90, not "{wrong}"'):
            parse_architectures(wrong)
    with pytest.raises(ConfigError, match=r"need a GPU of compute capability 8\.0 \(Ampere\) or later, not 7\.5"):
        parse_architectures("75,90")


class TestMismatch:
    def fits(self, **changes: object) -> PluginLibrary:
        metadata = {"version": source_version(), "tensorrt": (8, 6, 0), "cuda": "13.0", "architectures": (80, 90)}
        return PluginLibrary(Path("lib.so"), **(metadata | changes))  # type: ignore[arg-type]

    def test_none(self) -> None:
        assert self.fits().mismatch((8, 6, 1), HOPPER) is None
        assert self.fits().mismatch((8, 6, 1), None) is None

    def test_code_for_an_earlier_minor_version_runs(self) -> None:
        assert self.fits().mismatch((8, 6, 0), Driver((13, 0), (8, 9))) is None

    @pytest.mark.parametrize(
        ("changes", "driver", "message"),
        [
            (
                {"version": "0" * 16},
                HOPPER,
                "lib.so was built from other sources; run `fairmot plugins` again.",
            ),
            ({"tensorrt": (10, 16, 1)}, HOPPER, "lib.so was built for TensorRT 10.16, but 8.6 is installed; run "),
            ({}, Driver((12, 4), (9, 0)), "lib.so was built with CUDA 13.0, but the driver runs CUDA 12.4; update "),
            ({}, Driver((13, 0), (10, 0)), "lib.so has code for compute capability 80, 90 but none for this GPU (100)"),
            ({"architectures": (86,)}, Driver((13, 0), (8, 0)), "none for this GPU (80)"),
        ],
    )
    def test_refusals(self, changes: dict[str, object], driver: Driver, message: str) -> None:
        mismatch = self.fits(**changes).mismatch((8, 6, 0), driver)
        assert mismatch is not None
        assert message in mismatch


def test_plans_of_compatible_sources_stay_valid() -> None:
    def plan_version(version: str) -> str:
        return PluginLibrary(Path("lib.so"), version, (8, 6, 0), "13.0", (90,)).plan_version

    assert plan_version(source_version()) == "2789a5122c9d6bd3"  # of the sources that cached plans were built with
    assert plan_version("2789a5122c9d6bd3") == "2789a5122c9d6bd3"
    assert plan_version("0" * 16) == "0" * 16


def test_plans_cached_with_compatible_sources_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path))
    current = PluginLibrary(Path("lib.so"), source_version(), (8, 6, 0), "13.0", (90,))
    host = Host("NVIDIA H200", (9, 0), "8.6.0", current.plan_version)
    path = plan_path(ModelFile(Path("dla_34.onnx"), (1088, 608)), "0" * 64, BuildSettings(), host)
    assert path.name == "dla_34-fp16-plugin-1088x608-b1-51ee7361a506216a.plan"  # named by the sources of that digest


def test_the_table_of_compatible_sources_is_of_these_sources() -> None:
    """After a change of `plugins/src`: if it serializes and runs as before, enter its digest, else empty the table."""
    assert list(COMPATIBLE_SOURCES) in ([], [source_version()])


class TestFind:
    @pytest.fixture(autouse=True)
    def folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "library_folders", lambda: [tmp_path / "package", tmp_path / "user"])

    def test_missing(self) -> None:
        message = r"The plugins are not built for TensorRT 10\.16; run `fairmot plugins`\."
        with pytest.raises(ConfigError, match=message):
            library.find((10, 16, 1))

    def test_not_a_library(self, tmp_path: Path) -> None:
        path = tmp_path / "user" / "libfairmot_plugins_trt8.so"
        path.parent.mkdir()
        path.write_text("no library")
        with pytest.raises(ConfigError, match=r"trt8\.so cannot be read .*run `fairmot plugins` again\."):
            library.find((8, 6, 0))

    def test_unavailable_reason_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "installed_tensorrt", lambda: None)
        assert library.unavailable_reason() == "TensorRT is not installed; run `pip install tensorrt`."
        monkeypatch.setattr(library, "installed_tensorrt", lambda: (11, 1, 0))
        assert library.unavailable_reason() == "The plugins are not built for TensorRT 11.1; run `fairmot plugins`."


def test_installed_version_is_read_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text('from .tensorrt import *\n\n__version__ = "10.16.1.11"\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert library.installed_tensorrt() == (10, 16, 1)


@pytest.mark.parametrize("error", ["ImportError('libnvinfer.so.10: no such file')", "OSError('bad\\n wheel.')"])
def test_packages_that_are_installed_but_cannot_be_loaded(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text(f'__version__ = "10.16.1"\nraise {error}\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    detail = r"libnvinfer\.so\.10: no such file" if "lib" in error else "bad wheel"
    assert re.fullmatch(
        rf"The installed tensorrt cannot be loaded \({detail}\); install it again\.", library.loading_error() or ""
    )


def test_without_tensorrt_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "installed_tensorrt", lambda: None)
    assert library.loading_error() == "TensorRT is not installed; run `pip install tensorrt`."


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("nvcc", "echo release 13.0, V13.0.88"), ("g++", "true")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    folder = headers(tmp_path / "include", (8, 6, 0))
    monkeypatch.setattr(build, "installed_tensorrt", lambda: None)
    with pytest.raises(OutputError, match="pass another --output folder"):
        build.build("90", folder, tmp_path / "file" / "below")


def test_compiler_failure_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    nvcc = tools / "nvcc"
    nvcc.write_text(
        '#!/bin/sh\ncase "$1" in --version) echo "release 13.0, V13.0.88";;\n'
        '*) echo "a.h(3): note: here" >&2; echo "a.h(4): error: no such thing" >&2; exit 2;; esac\n'
    )
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    folder = headers(tmp_path / "include", (8, 6, 0))
    monkeypatch.setattr(build, "installed_tensorrt", lambda: (8, 6, 0))
    arguments = ["--architectures", "90", "--tensorrt-include", str(folder), "--output", str(tmp_path / "out")]
    assert main(arguments) == ConfigError.exit_code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: nvcc could not compile ")
    assert last.endswith(": a.h(4): error: no such thing")
    assert list((tmp_path / "out").iterdir()) == []
