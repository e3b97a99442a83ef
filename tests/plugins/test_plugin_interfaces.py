"""The compiled library, called as TensorRT calls it but without TensorRT or a GPU (`plugin_harness.cpp` stands in).

Runs where nvcc is and TensorRT's headers are in TENSORRT_INCLUDE or in PROJECT/.trt/VERSION/include.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fairmot.core.errors import ConfigError
from fairmot.plugins import build
from fairmot.plugins.build import Headers, find_nvcc
from fairmot.plugins.library import source_version

PROJECT = Path(__file__).resolve().parents[2]

Ask = Callable[..., list[str]]


def header_folders() -> list[Path]:
    named = os.environ.get("TENSORRT_INCLUDE")
    return [Path(named)] if named else sorted(PROJECT.glob(".trt/*/include"))


def compiler() -> Path | None:
    try:
        return find_nvcc()
    except ConfigError:
        return None


NVCC = compiler()
pytestmark = [
    pytest.mark.skipif(NVCC is None or shutil.which("g++") is None, reason="nvcc or g++ is not installed"),
    pytest.mark.skipif(not header_folders(), reason="TensorRT's headers are not in TENSORRT_INCLUDE or .trt"),
]


@pytest.fixture(scope="module", params=header_folders(), ids=lambda folder: folder.parent.name)
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Build library and harness for one version of TensorRT; return a function that runs the harness."""
    assert NVCC is not None
    headers = Headers.read(request.param)
    assert headers is not None
    folder = tmp_path_factory.mktemp("built")
    report: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "installed_tensorrt", lambda: None)
        library = build.build("90", headers.folder, folder, report.append)
    assert library.tensorrt == headers.version
    assert not [line for line in report if "warning" in line.lower()]
    toolkit = NVCC.resolve().parent.parent
    cuda = [folder for folder in (toolkit / "include", Path("/usr/local/cuda/include")) if folder.is_dir()]
    harness = folder / "harness"
    system = [word for place in (headers.folder, *cuda) for word in ("-isystem", str(place))]
    source = Path(__file__).with_name("plugin_harness.cpp")
    subprocess.run(
        ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", *system, source, "-o", harness, "-ldl"], check=True
    )

    def run(*words: str) -> list[str]:
        command = [str(harness), str(library.path), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    return run


def test_metadata_and_operations(ask: Ask) -> None:
    metadata, *operations = ask()
    assert json.loads(metadata)["version"] == source_version()
    assert json.loads(metadata)["architectures"] == [90]
    assert operations == [
        "DeformConv 1 kernel_shape strides pads dilations group offset_group",
        "DCNv2 1 stride padding dilation groups deformable_group",
        "FusedDeformConv 1 kernel_shape strides pads dilations offset_group relu",
        "DeformConvBlock 1 relu",
        "UpsampleAdd 1 factor",
        "NormalizeEmbedding 1",
    ]


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        # The output's sizes, then its type where all inputs are float32 and where all are half.
        ("DeformConv pads=1,1,1,1 -- 2x16x13x17 8x16x3x3 2x18x13x17", "2x8x13x17 f h"),
        ("DeformConv pads=1,1,1,1 -- ?2x16x13x17 8x16x3x3 ?2x18x13x17 8", "?2x8x13x17 f h"),
        ("DeformConv -- ?2x16x?13x?17 8x16x5x3 ?2x30x?9x?15 8 ?2x15x?9x?15", "?2x8x?9x?15 f h"),
        (
            "DeformConv kernel_shape=3,2 strides=2,3 pads=1,2,0,1 dilations=2,1 group=2 offset_group=4 -- "
            "1x16x13x17 8x8x3x2 1x48x5x7 8 1x24x5x7",
            "1x8x5x7 f h",
        ),
        ("DCNv2 stride=2 padding=1 -- 1x16x13x17 1x18x7x9 1x9x7x9 8x16x3x3 8", "1x8x7x9 f h"),
        (
            "DCNv2 stride=2,1 padding=2,1 dilation=2,1 groups=2 deformable_group=2 -- "
            "1x16x13x17 1x36x7x17 1x18x7x17 8x8x3x3 8",
            "1x8x7x17 f h",
        ),
        (
            "FusedDeformConv kernel_shape=3,3 pads=1,1,1,1 relu=1 -- ?4x64x38x68 ?4x27x38x68 9x32x64 32",
            "?4x32x38x68 h h",
        ),
        (
            "FusedDeformConv kernel_shape=3 strides=2 pads=1 offset_group=2 -- 1x16x13x17 1x54x7x9 3x8x64 8",
            "1x8x7x9 h h",
        ),
        ("DeformConvBlock relu=1 -- ?4x64x38x68 9x32x64 32 9x40x64 40", "?4x40x38x68 h h"),
        ("DeformConvBlock -- ?3x8x?1x?1 2x32x64 32 2x512x64 512", "?3x512x?1x?1 h h"),
        ("UpsampleAdd factor=4 -- ?2x64x38x68 8x8x64 ?2x64x152x272", "?2x64x152x272 h h"),
        ("NormalizeEmbedding -- ?2x128x152x272", "?2x128x152x272 f f"),
    ],
)
def test_output_dims(ask: Ask, request_line: str, answer: str) -> None:
    assert ask("dims", *request_line.split()) == [answer]


@pytest.mark.parametrize(
    ("request_line", "accepted"),
    [
        (
            "DeformConv pads=1,1,1,1 -- 2x16x13x17 8x16x3x3 2x18x13x17 8 2x9x13x17",
            ["fL fL fL fL fL fL", "hL hL hL hL hL hL", "h8 hL hL hL hL h8"],
        ),
        # Channels last is for one group and channels in eights; only the weight tells how many come out.
        ("DeformConv -- 2x12x13x17 8x12x1x1 2x2x13x17 8", ["fL fL fL fL fL", "hL hL hL hL hL"]),
        ("DeformConv -- 2x16x13x17 12x16x1x1 2x2x13x17 12", ["fL fL fL fL fL", "hL hL hL hL hL"]),
        ("DeformConv group=2 -- 2x16x13x17 8x8x1x1 2x2x13x17 8", ["fL fL fL fL fL", "hL hL hL hL hL"]),
        ("DeformConv group=3 -- 2x15x13x17 9x5x1x1 2x2x13x17 9", ["fL fL fL fL fL", "hL hL hL hL hL"]),
        (
            "DCNv2 padding=1 -- ?2x16x13x17 ?2x18x13x17 ?2x9x13x17 8x16x3x3 8",
            ["fL fL fL fL fL fL", "hL hL hL hL hL hL", "h8 hL hL hL hL h8"],
        ),
        (
            "DCNv2 padding=1 -- ?2x16x13x17 ?2x18x13x17 ?2x9x13x17 6x16x3x3 6",
            ["fL fL fL fL fL fL", "hL hL hL hL hL hL"],
        ),
        ("FusedDeformConv kernel_shape=3,3 pads=1 -- ?4x64x38x68 ?4x27x38x68 9x32x64 32", ["h8 h8 hL fL h8"]),
        ("DeformConvBlock -- ?4x64x38x68 9x32x64 32 9x40x64 40", ["h8 hL fL hL fL h8"]),
        ("UpsampleAdd factor=2 -- ?2x64x38x68 4x4x64 ?2x64x76x136", ["h8 hL h8 h8"]),
        ("NormalizeEmbedding -- ?2x128x152x272", ["h8 fL"]),
    ],
)
def test_formats(ask: Ask, request_line: str, accepted: list[str]) -> None:
    assert ask("formats", *request_line.split()) == accepted


@pytest.mark.parametrize(
    ("request_line", "message"),
    [
        ("DeformConv stride=1 -- 1", 'DeformConv: attribute "stride" is not known.'),
        ("DeformConv pads=1,1,1 -- 1", 'DeformConv: attribute "pads" has 3 numbers instead of 4.'),
        ("DeformConv strides=0 -- 1", 'DeformConv: attribute "strides" is 0 but must be 1 to 1048576.'),
        ("FusedDeformConv strides=1 -- 1", 'FusedDeformConv: attribute "kernel_shape" is missing.'),
        ("UpsampleAdd -- 1", 'UpsampleAdd: attribute "factor" is missing.'),
        ("DeformConv -- 1x8x9x9 8x8x3x3", "DeformConv: the node has 2 inputs instead of 3 to 5."),
        ("DCNv2 -- 1x8x9x9 1x18x7x7 8x8x3x3", "DCNv2: the node has 3 inputs instead of 5."),
        ("DeformConv -- 8x9x9 8x8x3x3 1x18x7x7", "DeformConv: x is 8x9x9 but must be ?x?x?x?."),
        ("DeformConv -- 1x8x9x9 8x8x3x3 1x18x9x9", "DeformConv: offset is 1x18x9x9 but must be 1x18x7x7."),
        ("DeformConv -- ?1x8x9x9 8x8x3x3 2x18x9x7", "DeformConv: offset is 2x18x9x7 but must be ?x18x7x7."),
        ("DeformConv -- 1x8x9x9 8x8x3x3 1x18x7x7 9", "DeformConv: bias is 9 but must be 8."),
        (
            "DeformConv -- 1x8x9x9 8x8x3x3 1x18x7x7 8 1x18x7x7",
            "DeformConv: mask is 1x18x7x7 but must be 1x9x7x7.",
        ),
        (
            "DeformConv kernel_shape=5,5 -- 1x8x9x9 8x8x3x3 1x18x7x7",
            "DeformConv: weight is 8x8x3x3 but must be ?x8x5x5.",
        ),
        ("DeformConv -- 1x8x2x2 8x8x3x3 1x18x1x1", "DeformConv: the kernel is larger than the padded x."),
        (
            "DeformConv group=3 -- 1x8x9x9 8x8x3x3 1x18x7x7",
            "DeformConv: the channels of x must be a multiple of the groups and of the offset groups.",
        ),
        (
            "FusedDeformConv kernel_shape=3 -- 1x64x9x9 1x27x7x7 8x32x64 32",
            "FusedDeformConv: packed weight is 8x32x64 but must be 9x?x64.",
        ),
        (
            "FusedDeformConv kernel_shape=3 -- 1x64x9x9 1x18x7x7 9x32x64 32",
            "FusedDeformConv: predicted is 1x18x7x7 but must be 1x27x7x7.",
        ),
        (
            "FusedDeformConv kernel_shape=3 -- 1x64x9x9 1x27x7x7 9x30x64 30",
            "FusedDeformConv: these channels, groups or kernel are not for the fused kernel; use DeformConv.",
        ),
        ("DeformConvBlock relu=2 -- 1", 'DeformConvBlock: attribute "relu" is 2 but must be 0 to 1.'),
        ("DeformConvBlock strides=1 -- 1", 'DeformConvBlock: attribute "strides" is not known.'),
        (
            "DeformConvBlock -- 1x64x9x9 9x32x64 32 9x64x64",
            "DeformConvBlock: the node has 4 inputs instead of 5.",
        ),
        ("DeformConvBlock -- 64x9x9 9x32x64 32 9x64x64 64", "DeformConvBlock: x is 64x9x9 but must be ?x?x?x?."),
        (
            "DeformConvBlock -- 1x64x9x9 9x27x64 32 9x64x64 64",
            "DeformConvBlock: packed offset weight is 9x27x64 but must be 9x32x64.",
        ),
        (
            "DeformConvBlock -- 1x64x9x9 9x32x64 27 9x64x64 64",
            "DeformConvBlock: offset bias is 27 but must be 32.",
        ),
        (
            "DeformConvBlock -- 1x64x9x9 9x32x64 32 64x64x3x3 64",
            "DeformConvBlock: packed weight is 64x64x3x3 but must be 9x?x64.",
        ),
        ("DeformConvBlock -- 1x64x9x9 9x32x64 32 9x64x64 32", "DeformConvBlock: bias is 32 but must be 64."),
        (
            "DeformConvBlock -- 1x12x9x9 2x32x64 32 2x64x64 64",
            "DeformConvBlock: this kernel does not take 12 input and 64 output channels; use DeformConv.",
        ),
        (
            "DeformConvBlock -- 1x64x9x9 9x32x64 32 9x30x64 30",
            "DeformConvBlock: this kernel does not take 64 input and 30 output channels; use DeformConv.",
        ),
        ("UpsampleAdd factor=3 -- 1x8x2x2 6x6x8 1x8x6x6", 'UpsampleAdd: attribute "factor" must be even.'),
        ("UpsampleAdd factor=2 -- 1x8x2x2 4x4x8 1x8x4x6", "UpsampleAdd: skip is 1x8x4x6 but must be 1x8x4x4."),
        ("NormalizeEmbedding -- 1x12x2x2", "NormalizeEmbedding: the channels of x must be a multiple of 8."),
    ],
)
def test_errors_are_logged_as_one_line(ask: Ask, request_line: str, message: str) -> None:
    assert ask("dims", *request_line.split()) == [f"error: {message}"]


# Tensors around the limit of 32-bit indices, 2^31 elements: 4 GiB of halves. 16384 x 8192 x 16 is exactly 2^31.
BEYOND = "but must be below 2^31 (2147483648) elements, as the kernel indexes with 32 bits."


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        ("DeformConvBlock -- 1x16x16383x8192 3x32x64 32 3x16x64 16", "1x16x16383x8192 h h"),
        ("DeformConvBlock -- 1x16x16384x8192 3x32x64 32 3x16x64 16", f"x is 1x16x16384x8192 {BEYOND}"),
        ("DeformConvBlock -- 2x16x16384x4096 3x32x64 32 3x16x64 16", f"x is 2x16x16384x4096 {BEYOND}"),
        ("DeformConvBlock -- ?2x16x16384x4096 3x32x64 32 3x16x64 16", "?2x16x16384x4096 h h"),
        ("DeformConvBlock -- 1x8x16384x8192 2x32x64 32 2x16x64 16", f"the output is 1x16x16384x8192 {BEYOND}"),
        ("DeformConvBlock -- 1x16x65536x65536 3x32x64 32 3x16x64 16", f"x is 1x16x65536x65536 {BEYOND}"),
        (
            "FusedDeformConv kernel_shape=1 -- 1x16x16383x8192 1x3x16383x8192 1x16x64 16",
            "1x16x16383x8192 h h",
        ),
        (
            "FusedDeformConv kernel_shape=1 -- 1x16x16384x8192 1x3x16384x8192 1x16x64 16",
            f"x is 1x16x16384x8192 {BEYOND}",
        ),
        (
            "FusedDeformConv kernel_shape=3 pads=1 -- 1x16x8192x9709 1x27x8192x9709 3x16x64 16",
            "1x16x8192x9709 h h",
        ),
        (
            "FusedDeformConv kernel_shape=3 pads=1 -- 1x16x8192x9710 1x27x8192x9710 3x16x64 16",
            f"predicted is 1x27x8192x9710 {BEYOND}",
        ),
        (
            "FusedDeformConv kernel_shape=1 -- 1x8x9x9 1x3x9x9 1x33554432x64 33554432",
            f"packed weight is 1x33554432x64 {BEYOND}",
        ),
        (
            "FusedDeformConv kernel_shape=1 -- 1x8x8192x8192 1x3x8192x8192 1x32x64 32",
            f"the output is 1x32x8192x8192 {BEYOND}",
        ),
        # Linear maps are indexed with 64 bits but for the pixels of a channel.
        ("DeformConv -- 4x64x16384x8192 8x64x1x1 4x2x16384x8192", "4x8x16384x8192 f h"),
        ("DeformConv -- 1x8x32768x65535 8x8x1x1 1x2x32768x65535", "1x8x32768x65535 f h"),
        ("DeformConv -- 1x8x32768x65536 8x8x1x1 1x2x32768x65536", f"a channel of x is 32768x65536 {BEYOND}"),
        (
            "DeformConv pads=500,0,500,0 -- 1x8x32000x65536 8x8x1x1 1x2x33000x65536",
            f"a channel of the output is 33000x65536 {BEYOND}",
        ),
        ("UpsampleAdd factor=2 -- 8x64x8192x8192 4x4x64 8x64x16384x16384", "8x64x16384x16384 h h"),
        ("UpsampleAdd factor=64 -- 1x131072x1x1 128x128x131072 1x131072x64x64", f"weight is 128x128x131072 {BEYOND}"),
        ("NormalizeEmbedding -- 64x64x32768x65535", "64x64x32768x65535 f f"),
        ("NormalizeEmbedding -- 1x64x32768x65536", f"a channel of x is 32768x65536 {BEYOND}"),
    ],
)
def test_maps_beyond_the_indices_of_a_kernel_are_refused(ask: Ask, request_line: str, answer: str) -> None:
    (found,) = ask("dims", *request_line.split())
    assert found == (f"error: {request_line.split()[0]}: {answer}" if BEYOND in answer else answer)


@pytest.mark.parametrize(
    ("request_line", "accepted"),
    [
        ("DeformConv -- 1x16x16383x8192 8x16x1x1 1x2x16383x8192", ["fL fL fL fL", "hL hL hL hL", "h8 hL hL h8"]),
        ("DeformConv -- 1x16x16384x8192 8x16x1x1 1x2x16384x8192", ["fL fL fL fL", "hL hL hL hL"]),
        ("DeformConv -- 1x8x1x1 33554424x8x1x1 1x2x1x1", ["fL fL fL fL", "hL hL hL hL", "h8 hL hL h8"]),
        ("DeformConv -- 1x8x1x1 33554432x8x1x1 1x2x1x1", ["fL fL fL fL", "hL hL hL hL"]),
        (
            "DeformConv pads=1 -- 1x8x10240x11650 8x8x3x3 1x18x10240x11650",
            ["fL fL fL fL", "hL hL hL hL", "h8 hL hL h8"],
        ),
        ("DeformConv pads=1 -- 1x8x10240x11651 8x8x3x3 1x18x10240x11651", ["fL fL fL fL", "hL hL hL hL"]),
    ],
)
def test_maps_beyond_the_channels_last_kernel_stay_linear(ask: Ask, request_line: str, accepted: list[str]) -> None:
    assert ask("formats", *request_line.split()) == accepted


@pytest.mark.parametrize(
    ("request_line", "message"),
    [
        # Sizes that are known at run time alone.
        ("DeformConvBlock -- 2x16x16384x4096 3x32x64 32 3x16x64 16", "x is 2x16x16384x4096"),
        ("FusedDeformConv kernel_shape=1 -- 2x16x16384x4096 2x3x16384x4096 1x16x64 16", "x is 2x16x16384x4096"),
        ("DeformConv -- 2x16x16384x4096 8x16x1x1 2x2x16384x4096", "x is 2x16x16384x4096"),
        ("DeformConv pads=1 -- 1x8x10240x11651 8x8x3x3 1x18x10240x11651", "offset is 1x18x10240x11651"),
        ("NormalizeEmbedding -- 1x64x32768x65536", "a channel of x is 32768x65536"),
    ],
)
def test_a_launch_beyond_the_indices_of_a_kernel_is_refused(ask: Ask, request_line: str, message: str) -> None:
    assert ask("enqueue", *request_line.split()) == [f"error: {request_line.split()[0]}: {message} {BEYOND}", "1"]


def test_sizes_of_more_than_32_bits_are_refused(ask: Ask) -> None:
    if json.loads(ask()[0])["tensorrt"][0] < 10:
        pytest.skip("sizes have 32 bits before TensorRT 10")
    assert ask("dims", "NormalizeEmbedding", "--", "1x64x1x4294967297") == [
        f"error: NormalizeEmbedding: a size is 4294967297 {BEYOND}"
    ]
