"""The shared context and stream on a GPU."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fairmot.core.errors import ConfigError

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[3]

DOUBLE = 'extern "C" __global__ void times(float* values, int size, float factor) {' + (
    " int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < size) values[i] *= factor; }"
)


def test_torch_and_pycuda_share_context_and_stream(tmp_path, monkeypatch) -> None:
    import pycuda.driver
    import torch

    from fairmot.engine.cuda.gpu import Gpu, gpu_unavailable_reason

    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path))
    assert gpu_unavailable_reason() is None
    gpu = Gpu.open()
    assert Gpu.open() is gpu
    assert gpu.stream.cuda_stream == gpu.handle != 0
    assert gpu.compute_capability == torch.cuda.get_device_capability()
    assert pycuda.driver.Context.get_current() is None  # nothing is left on pycuda's stack
    source = tmp_path / "times.cu"
    source.write_text(DOUBLE)
    times = gpu.kernel(source, "times", "Pif")
    assert len(list((tmp_path / "kernels").iterdir())) == 1
    values = gpu.upload(np.arange(1000, dtype=np.float32))
    with torch.cuda.stream(gpu.stream):
        for _ in range(50):
            times((4, 1), (256, 1, 1), values.data_ptr(), 1000, 2.0)
            values.div_(2)
    gpu.synchronize()
    np.testing.assert_array_equal(values.cpu().numpy(), np.arange(1000))

    def in_a_thread() -> None:
        other = Gpu.open()
        times((4, 1), (256, 1, 1), values.data_ptr(), 1000, 3.0)
        other.synchronize()

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(values.cpu().numpy(), 3 * np.arange(1000))


def test_a_missing_device_is_a_clear_error() -> None:
    from fairmot.engine.cuda.gpu import Gpu

    with pytest.raises(ConfigError, match="no GPU number 99"):
        Gpu.open(99)


def test_the_process_exits_silently() -> None:
    code = "from fairmot.engine.cuda.gpu import Gpu; print(Gpu.open().name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.strip()


def test_reason_without_visible_devices() -> None:
    code = "from fairmot.engine.cuda.gpu import gpu_unavailable_reason; print(gpu_unavailable_reason())"
    done = subprocess.run(
        ["env", "CUDA_VISIBLE_DEVICES=", sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert "finds no GPU" in done.stdout
