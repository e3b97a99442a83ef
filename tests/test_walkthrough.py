"""The page on the way from Python to CUDA: its lines are those of the sources, and the four ways agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decode_walkthrough

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "guides" / "from-python-to-cuda.md").read_text(encoding="utf-8")
QUOTES = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)


def test_quoted_lines_are_in_the_sources() -> None:
    assert len(QUOTES) > 10
    assert {name for name, _ in QUOTES} == {
        "engine/decode.py", "engine/cuda/kernels/decode.cu", "benchmarks/decode_walkthrough.py",
    }  # fmt: skip
    for name, quote in QUOTES:
        assert quote in (ROOT / name).read_text(encoding="utf-8"), f"{name} does not contain:\n{quote}"


def check_equal(found: decode_walkthrough.Steps, wanted: decode_walkthrough.Steps) -> None:
    assert found.class_ids == wanted.class_ids
    assert not found.cells or found.cells == wanted.cells
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-6)  # exp rounds differently here and there
    np.testing.assert_array_equal(found.tlbr, wanted.tlbr)


def test_the_ways_agree(tmp_path: Path) -> None:
    heads = decode_walkthrough.example_heads()
    wanted = decode_walkthrough.in_numpy(heads)
    assert wanted.cells == [7, 7, 22]
    plain = decode_walkthrough.in_plain_python(heads)
    check_equal(plain, wanted)
    if decode_walkthrough.COMPILER is None:
        pytest.skip("needs g++")
    kernels = decode_walkthrough.by_kernels_on_the_cpu(heads, tmp_path)
    check_equal(kernels, wanted)
    low = 0xFFFFFFFF
    assert [key & low for key in kernels.keys] == [key & low for key in plain.keys]


@pytest.mark.gpu
def test_the_gpu_agrees() -> None:
    heads = decode_walkthrough.example_heads()
    check_equal(decode_walkthrough.on_the_gpu(heads), decode_walkthrough.in_numpy(heads))


def test_the_command_prints_what_the_page_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.decode_walkthrough"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(r"^```text\n.*?:\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    scores = r"key [0-9a-f]{8}"  # their last bits depend on the C library
    assert re.sub(scores, "", shown) in re.sub(scores, "", done.stdout)
