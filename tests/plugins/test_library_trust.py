"""Checks of a plugin library before it is loaded, as loading runs its code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fairmot.core.errors import ConfigError
from fairmot.engine.cuda import nvrtc
from fairmot.plugins import build, library
from fairmot.plugins.library import SOURCES, PluginLibrary, source_version

NAME = "libfairmot_plugins_trt8.so"
PLANTED = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((constructor)) static void run(void) { fclose(fopen("%s", "w")); }
__attribute__((visibility("default"))) const char metadata[] = "%s";
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux")


def metadata(**changes: object) -> bytes:
    says = {"version": source_version(), "tensorrt": [8, 6, 0], "cudart": 13000, "architectures": [80, 90]}
    return b"\x7fELF and code " + b"FAIRMOT PLUGINS " + json.dumps(says | changes).encode() + b"\0 more code"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the library in the cache."""
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "cache"))
    user = library.library_folders()[1]
    monkeypatch.setattr(library, "library_folders", lambda: [tmp_path / "package", user])
    monkeypatch.setattr(library, "find_driver", lambda: None)
    user.mkdir(parents=True, mode=0o700)
    return user / NAME


def test_metadata_is_read_from_the_bytes(place: Path) -> None:
    place.write_bytes(metadata())
    found = library.find((8, 6, 1))
    assert found == PluginLibrary(place, source_version(), (8, 6, 0), "13.0", (80, 90))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\x7fELF without metadata",
        b"FAIRMOT PLUGINS {",
        b"FAIRMOT PLUGINS {}\0",
        b"FAIRMOT PLUGINS " + b"[" * 100_000,
        b"FAIRMOT PLUGINS {" + b'"a":[' * 4000 + b"\0",
        b'FAIRMOT PLUGINS {"version": "\xff"}\0',
        metadata(tensorrt="8.6"),
        metadata(tensorrt=8),
        metadata(cudart="13.0"),
        metadata(cudart=None),
        metadata(architectures=[[80]]),
    ],
)
def test_a_file_without_valid_metadata(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot be read \(.*\); run `fairmot plugins` again\.") as caught:
        library.find((8, 6, 0))
    assert "\n" not in str(caught.value)


def spoil(kind: str, place: Path) -> None:
    if kind == "folder for all":
        place.parent.chmod(0o777)
    elif kind == "sticky folder":
        place.parent.chmod(0o1777)
    elif kind == "file for all":
        place.chmod(0o666)
    elif kind == "file of another":
        os.chown(place, 65534, -1)
    elif kind == "folder of another":
        os.chown(place.parent, 65534, -1)
    else:
        os.chown(place.parent.parent, 65534, -1)


KINDS = [
    "folder for all",
    "sticky folder",
    "file for all",
    *(pytest.param(kind, marks=needs_root) for kind in ("file of another", "folder of another", "cache of another")),
]


@needs_gcc
@pytest.mark.parametrize("kind", KINDS)
def test_planted_code_never_runs(kind: str, place: Path, tmp_path: Path) -> None:
    source, proof = tmp_path / "planted.c", tmp_path / "it ran"
    text = metadata().partition(b"FAIR")[2].partition(b"\0")[0].decode().replace('"', '\\"')
    source.write_text(PLANTED % (proof, f"FAIR{text}"))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", place, source], check=True)
    spoil(kind, place)
    with pytest.raises(ConfigError, match="The plugin library is not used, because ") as caught:
        library.find((8, 6, 0))
    assert "\n" not in str(caught.value)
    assert not proof.exists()


@needs_gcc
def test_code_of_another_version_never_runs(place: Path, tmp_path: Path) -> None:
    source, proof = tmp_path / "old.c", tmp_path / "it ran"
    source.write_text(PLANTED % (proof, "nothing"))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", place, source], check=True)
    with pytest.raises(ConfigError, match="it has no metadata"):
        library.find((8, 6, 0))
    assert not proof.exists()


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """`registration.cpp` as g++ makes it, with what it needs of the headers of TensorRT 10 and CUDA."""
    text = (SOURCES / "registration.cpp").read_text()
    body = text[text.index("#define FAIRMOT_EXPORT") :]
    body = body[: body.index("FAIRMOT_EXPORT void setLoggerFinder")] + body[body.index("#define FAIRMOT_MARK") :]
    macros = {"TRT_MAJOR_ENTERPRISE": "10", "NV_TENSORRT_MAJOR": "TRT_MAJOR_ENTERPRISE", "NV_TENSORRT_MINOR": "16"}
    macros |= {"NV_TENSORRT_PATCH": "1", "CUDART_VERSION": "12080"}
    source = tmp_path / "metadata.cpp"
    source.write_text("".join(f"#define {name} {value}\n" for name, value in macros.items()) + body)
    defines = ["-DFAIRMOT_PLUGINS_VERSION=12e5", "-DFAIRMOT_ARCHITECTURES=80,90"]
    options = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *options, *defines, "-shared", "-o", tmp_path / "metadata.so", source], check=True)
    return tmp_path / "metadata.so"


@pytest.mark.skipif(shutil.which("g++") is None or sys.platform != "linux", reason="needs g++ on Linux")
def test_the_sources_write_the_metadata_that_is_read(compiled: Path) -> None:
    assert PluginLibrary.read(compiled) == PluginLibrary(compiled, "12e5", (10, 16, 1), "12.8", (80, 90))


def test_nothing_is_built_where_others_write(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, user = library.library_folders()
    monkeypatch.setattr(build, "library_folders", lambda: [package, user])
    package.mkdir()
    assert build.default_output() == package
    package.chmod(0o777)
    assert build.default_output() == user
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("nvcc", "g++"):
        (tools / name).write_text("#!/bin/sh\necho release 13.0, V13.0.88\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(build, "installed_tensorrt", lambda: None)
    monkeypatch.setattr(build, "find_headers", lambda *_: build.Headers(tmp_path, (8, 6, 0)))
    with pytest.raises(
        ConfigError, match=r"folder of the plugins is not used, because all users may write to .*shared"
    ):
        build.build("90", output=shared)
    assert list(shared.iterdir()) == []


class Compiler:
    """Stands for NVRTC; what it compiles counts."""

    version = "13.0"
    calls = 0

    def target(self, capability: tuple[int, int]) -> str:
        return "sm_90"

    def compile(self, code: bytes, name: str, target: str) -> bytes:
        self.calls += 1
        return b"machine code"


def test_compiled_kernels_are_read_from_a_private_cache_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    monkeypatch.setattr(nvrtc.Nvrtc, "load", lambda: compiler)
    source = SOURCES / "registration.cpp"
    assert nvrtc.compile_cached(source, (9, 0)) == b"machine code"
    assert nvrtc.compile_cached(source, (9, 0)) == b"machine code"
    assert compiler.calls == 1
    folder = place.parent.parent / "kernels"
    assert folder.stat().st_mode & 0o777 == 0o700
    (kernel,) = folder.iterdir()
    kernel.chmod(0o666)
    with pytest.raises(ConfigError, match=rf"The compiled kernel is not used.*chmod go-w {re.escape(str(kernel))}"):
        nvrtc.compile_cached(source, (9, 0))
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"The cache \(FAIRMOT_CACHE\) is not used"):
        nvrtc.compile_cached(source, (9, 0))


@pytest.mark.parametrize("umask", [0o000, 0o002])
def test_kernels_written_under_any_umask_can_be_read_back(
    place: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvrtc.Nvrtc, "load", Compiler)
    before = os.umask(umask)
    try:
        nvrtc.compile_cached(SOURCES / "registration.cpp", (9, 0))
        assert nvrtc.compile_cached(SOURCES / "registration.cpp", (9, 0)) == b"machine code"
    finally:
        os.umask(before)
