"""`fairmot` on a machine without a GPU: help, inspecting, and one sentence for what cannot be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_network

from fairmot.cli.main import main
from fairmot.engine import ModelInfo
from fairmot.engine.cuda.gpu import gpu_unavailable_reason
from fairmot.engine.graph.prepare import VERSION
from fairmot.engine.trt.layers import Layer
from fairmot.engine.trt.plan import BuildSettings, Host, Plan

needs_no_gpu = pytest.mark.skipif(gpu_unavailable_reason() is None, reason="this machine has a GPU")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_network.save(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def plan_file(model_file: Path, tmp_path: Path) -> Path:
    layers = (
        Layer("stem + relu", "CaskConvolution", ("half HWC8",), ("half HWC8",)),
        Layer("proj [profile 1]", "PluginV2", ("half HWC8", "half HWC8"), ("half HWC8",)),
    )
    settings = BuildSettings((96, 64), (1, 4))
    host = Host("NVIDIA H200", (9, 0), "8.6.0", "abc123")
    plan = Plan(ModelInfo.read(model_file), "f" * 64, settings, host, VERSION, layers, b"engine" * 100)
    plan.write(tmp_path / "a.plan")
    return tmp_path / "a.plan"


def test_help_needs_neither_tensorrt_nor_torch() -> None:
    check = (
        "import sys; from fairmot.cli.main import main\n"
        "try: main(['build', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('tensorrt', 'torch', 'onnx', 'pycuda') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert "--precision {fp16,fp32}" in done.stdout
    assert done.stdout.splitlines()[-1] in ("[]", "['onnx']")


def test_inspect_lists_facts_and_layers(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(plan_file)]) == 0
    printed = capsys.readouterr().out
    assert "input: 96x64, batch 1, 4" in printed
    assert "auxiliary streams: at most 3\n" in printed
    assert "built on: NVIDIA H200 (sm_90), TensorRT 8.6.0, plugins abc123" in printed
    rows = [line.split() for line in printed.splitlines()]
    assert ["stem", "+", "relu", "CaskConvolution", "half", "HWC8", "half", "HWC8"] in rows
    assert "proj [profile 1]" in printed


@needs_no_gpu
@pytest.mark.parametrize("command", [["build", "MODEL"], ["inspect", "PLAN", "--times"]])
def test_without_a_gpu(
    command: list[str], model_file: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"MODEL": str(model_file), "PLAN": str(plan_file)}
    assert main([named.get(word, word) for word in command]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.strip() == f"error: {gpu_unavailable_reason()}"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--size", "96"], "WIDTHxHEIGHT"),
        (["--size", "100x64"], "multiples of 32, the nearest is 96x64"),
        (["--batch", "1,x"], "as in 1,4,8"),
        (["--batch", "0"], "from 1 to 64"),
        (["--batch", "100000000000000000000"], "from 1 to 64"),
        (["--batch", "²"], "as in 1,4,8"),
        (["--size", "²x3"], "WIDTHxHEIGHT"),
        (["--batch", "2,2"], "different numbers"),
        (["--aux-streams", "-1"], "0 to 16, not -1"),
        (["--aux-streams", "100"], "0 to 16, not 100"),
    ],
)
def test_wrong_options(model_file: Path, extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(model_file), *extra]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_wrong_files(tmp_path: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(tmp_path / "none.onnx")]) == 1
    assert "no model file" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "none.plan")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    plan_file.write_bytes(plan_file.read_bytes()[:-5])
    assert main(["inspect", str(plan_file)]) == 1
    assert "truncated" in capsys.readouterr().err


def test_times_for_a_batch_that_is_not_there(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(plan_file), "--times", "--batch", "2"]) == 2
    assert "built for (1, 4)" in capsys.readouterr().err


def test_a_plan_of_one_batch_and_stream_says_so(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan.read(plan_file)
    replace(plan, settings=BuildSettings((96, 64), aux_streams=0)).write(plan_file)
    main(["inspect", str(plan_file)])
    printed = capsys.readouterr().out
    assert "batch 1\n" in printed
    assert "auxiliary streams: none\n" in printed
