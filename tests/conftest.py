"""Leave out the tests that need PyTorch where it is not installed: it is no dependency of the core."""

from __future__ import annotations

from importlib.util import find_spec

NEED_TORCH = [
    "engine/cuda/test_decode_kernel.py",
    "engine/cuda/test_gpu_*.py",
    "engine/cuda/test_letterbox_kernel.py",
    "engine/test_foreign_model.py",
    "engine/test_gpu_*.py",
    "engine/test_graph_deform_conv.py",
    "engine/test_graph_prepare.py",
    "engine/test_graph_input_scale.py",
    "export",
    "plugins/test_dcn_reference.py",
    "plugins/test_gpu_*.py",
    "plugins/test_plugin_interfaces.py",
    "training",
]

collect_ignore_glob = [] if find_spec("torch") else NEED_TORCH


def pytest_report_header() -> list[str]:
    return ["PyTorch is not installed: tests of export, training and the GPU code are left out"] * bool(
        collect_ignore_glob
    )
