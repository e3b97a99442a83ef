"""Every TensorRT name in our Python code is in the bindings of the oldest and the newest versions.

`tensorrt_names.json` lists what the published wheels have; `collect_tensorrt_names.py` wrote it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorrt_usage import NAMES, PACKAGE, VERSIONS, Use, python_files, uses

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("app", "benchmarks", "engine", "export", "plugins", "tests")

BEFORE_10, BEFORE_11, FROM_10 = VERSIONS[:1], VERSIONS[:2], VERSIONS[1:]

# Names that only some versions have. The code asks for the version, or for the name, before it uses them.
IN_SOME_VERSIONS = {
    "BuilderFlag.FP16": BEFORE_11,  # since 10 our networks are strongly typed
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": BEFORE_11,
    "ExecutionContextAllocationStrategy": FROM_10,
    "ExecutionContextAllocationStrategy.USER_MANAGED": FROM_10,
    "IBuilderConfig.progress_monitor": FROM_10,
    "ICudaEngine.create_execution_context_without_device_memory": BEFORE_11,
    "ICudaEngine.device_memory_size": BEFORE_11,
    "ICudaEngine.device_memory_size_v2": FROM_10,
    "IExecutionContext.set_device_memory": FROM_10,
    "ILayer.precision": BEFORE_11,
    "ILayer.set_output_type": BEFORE_11,
    "IProgressMonitor": FROM_10,
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": BEFORE_11,
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": FROM_10,
    "TacticSource.CUBLAS": BEFORE_11,
}


def unknown_name(use: Use) -> str | None:
    """Return what is wrong with a use, or None."""
    name = NAMES.get(use.owner, {}).get(use.name)
    if name is None:
        return f"{use.place}: {use} is in no version of TensorRT"
    missing = [version for version in VERSIONS if version not in name.versions]
    if missing and str(use) not in IN_SOME_VERSIONS:
        return f"{use.place}: {use} is not in TensorRT {', '.join(missing)}"
    return None


def test_every_name_is_in_every_version() -> None:
    found = {use for path in python_files(PROJECT, *FOLDERS) for use in uses(path)}
    assert Use("Builder", "build_serialized_network", "") in found
    assert Use("IPluginRegistry", "load_library", "") in found
    assert [unknown_name(use) for use in sorted(found) if unknown_name(use)] == []


@pytest.mark.parametrize("name", IN_SOME_VERSIONS)
def test_versions_of_names_that_come_and_go(name: str) -> None:
    owner, _, member = name.rpartition(".")
    assert NAMES[owner or PACKAGE][member].versions == set(IN_SOME_VERSIONS[name])


def test_unknown_names_are_found_through_variables(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(
        """\
import tensorrt as trt

class Made:
    def __init__(self, logger: "trt.ILogger | None") -> None:
        self.builder = trt.Builder(logger)
        self.builder.build_cuda_engine  # left in 8.0

    def build(self, config: Any) -> None:
        network = self.builder.create_network(0)
        for number in range(network.num_layers):
            layer = network.get_layer(number)
            layer.preciseness = trt.DataType.HALVE
        plan = self.builder.build_serialized_network(network, config)
        config.set_flags(plan.nbytes)
        tensors = [network.get_input(i) for i in range(network.num_inputs)]
        for tensor in tensors:
            tensor.allowed_form = 1
        trt.BuilderFlag.BF16
        other = Other()
        other.set_flags()
"""
    )
    found = [unknown_name(use) for use in sorted(uses(path))]
    assert sorted(line.split(": ")[1] for line in found if line) == [
        "Builder.build_cuda_engine is in no version of TensorRT",
        "BuilderFlag.BF16 is not in TensorRT 8.6.0, 11.1.0.106",
        "DataType.HALVE is in no version of TensorRT",
        "IBuilderConfig.set_flags is in no version of TensorRT",
        "ILayer.preciseness is in no version of TensorRT",
        "ITensor.allowed_form is in no version of TensorRT",
    ]
