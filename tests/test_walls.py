"""Walls between packages, checked where they count: in a process in which the other side cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Imports every module of a package but one, while others raise; prints what was imported and what else was tried.
IMPORT_ALL = """
import importlib, pkgutil, sys

package, left_out, *blocked = sys.argv[1:]
tried = []

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in blocked):
            tried.append(name)
            raise ImportError(f"{name} is behind a wall")

sys.meta_path.insert(0, Blocker())
found = importlib.import_module(package)
names = [package]
for module in pkgutil.walk_packages(found.__path__, package + "."):
    if module.name != left_out:
        importlib.import_module(module.name)
        names.append(module.name)
print(*names)
print(*tried)
"""


def import_all(package: str, blocked: list[str], left_out: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT_ALL, package, left_out, *blocked]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("package", "blocked", "least"),
    [
        ("fairmot.engine.graph", ["tensorrt", "torch", "pycuda", "fairmot.engine.trt", "fairmot.engine.cuda"], 10),
        ("fairmot.engine.graph", ["onnxruntime", "fairmot.video", "fairmot.tracker", "fairmot.plugins"], 10),
        ("fairmot.tracker", ["torch", "tensorrt", "pycuda", "onnx", "onnxruntime", *(f"fairmot.{each}" for each in (
            "app", "engine", "video"
        ))], 15),
        ("fairmot.video", ["torch", "onnxruntime", "fairmot.engine", "fairmot.tracker", "fairmot.app"], 15),
        ("fairmot.core", ["torch", "tensorrt", "onnx", "onnxruntime", *(f"fairmot.{each}" for each in (
            "app", "cli", "engine", "export", "plugins", "tracker", "training", "video"
        ))], 10),
    ],
    ids=["graph without the GPU", "graph alone", "tracker without the network", "video alone", "core alone"],
)  # fmt: skip
def test_a_package_needs_nothing_behind_its_walls(package: str, blocked: list[str], least: int) -> None:
    result = import_all(package, blocked)
    assert result.returncode == 0, result.stderr
    names, tried = result.stdout.splitlines()
    assert tried == ""  # nor where its absence would be caught
    assert len(names.split()) >= least


def test_only_the_optical_flow_of_the_tracker_needs_opencv() -> None:
    result = import_all("fairmot.tracker", ["cv2"], left_out="fairmot.tracker.gmc.flow")
    assert result.returncode == 0, result.stderr
    assert "fairmot.tracker.fairmot" in result.stdout.split()


def test_a_wall_holds() -> None:
    """Or the others would prove nothing."""
    result = import_all("fairmot.tracker.gmc", ["cv2"])
    assert result.returncode == 1
    assert "ImportError: cv2 is behind a wall" in result.stderr


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("fairmot.engine.trt.plan", ["tensorrt", "torch", "pycuda"]),
        ("fairmot.engine.trt.inspect", ["tensorrt", "torch", "pycuda"]),
        ("fairmot.engine.trt.errors", ["tensorrt", "torch", "pycuda"]),
        ("fairmot.engine.trt.capabilities", ["tensorrt", "torch", "pycuda"]),
        ("fairmot.engine.factory", ["tensorrt", "torch", "pycuda", "onnxruntime"]),
    ],
)
def test_what_a_machine_without_a_gpu_imports(module: str, without: list[str]) -> None:
    code = f"import sys\nfor name in {without}: sys.modules[name] = None\nimport {module}"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
