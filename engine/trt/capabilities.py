"""Differences between versions of TensorRT: which were run, how precision is stated, how memory is passed.

Every question that depends on the version is asked here. TensorRT is imported where it is used, so that the table of
versions can be asked without it.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any

import onnx
from onnx import TensorProto

_log = logging.getLogger(__name__)

VERSIONS_RUN = ("8.6",)
"""Versions (major.minor) of TensorRT that this project was run with; others were compiled against, at most."""


def unrun_version(version: str) -> str | None:
    """Return a warning if a version of TensorRT, such as 10.9.0.34, was not run with this project."""
    numbers = re.findall(r"\d+", version)[:2]
    if ".".join(numbers) in VERSIONS_RUN:
        return None
    known = f"{' and '.join(VERSIONS_RUN)} {'has' if len(VERSIONS_RUN) == 1 else 'have'}"
    return f"TensorRT {'.'.join(numbers)} has not been run with this project ({known}); results may differ"


@cache
def warn_of_unrun_version(version: str) -> None:
    """Log the warning of `unrun_version`, once per process."""
    warning = unrun_version(version)
    if warning is not None:
        _log.warning("%s", warning)


def is_strongly_typed() -> bool:
    """Return whether the types in a graph decide the precision, as from version 10 on; see `hold_to_types`."""
    import tensorrt as trt

    return int(trt.__version__.split(".")[0]) >= 10


def half_image_format() -> Any:
    """Return the `tensorrt.TensorFormat` of float16 images.

    Four channels, which the first convolution reads, are for INT8 only from version 10 on.
    """
    import tensorrt as trt

    return trt.TensorFormat.HWC8 if is_strongly_typed() else trt.TensorFormat.CHW4


def network_flags() -> int:
    """Return the flags of a network whose precision is that of its graph."""
    import tensorrt as trt

    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED if is_strongly_typed() else flags.EXPLICIT_BATCH)


def hold_to_types(network: Any, config: Any, graph: onnx.ModelProto) -> None:
    """Set the precision of every layer that computes in float to that of the graph.

    For weakly typed networks, before version 10: there the builder may run any layer in another precision if that is
    faster. So every layer gets the type that its result has in the graph, and the builder has to obey.

    Args:
        network: the parsed network.
        config: of the builder.
        graph: as `fairmot.engine.graph.prepare.prepare` returns it, with the types in `value_info`.
    """
    import tensorrt as trt

    # Their types are their own: of a cast its target, of a constant its values, of a plugin what it declares.
    left_alone = {trt.LayerType.CAST, trt.LayerType.CONSTANT, trt.LayerType.PLUGIN_V2, trt.LayerType.SHAPE}
    types = {TensorProto.FLOAT: trt.float32, TensorProto.FLOAT16: trt.float16}
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    kinds = {
        value.name: types[value.type.tensor_type.elem_type]
        for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output)
        if value.type.tensor_type.elem_type in types
    }
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type in left_alone:
            continue
        results = [layer.get_output(number) for number in range(layer.num_outputs)]
        own = [kinds.get(result.name) for result in results]
        if own[0] is not None:
            layer.precision = own[0]
            for number, kind in enumerate(own):
                layer.set_output_type(number, kind or own[0])
        elif layer.num_inputs and results[0].dtype == trt.bool:
            first = layer.get_input(0)  # a comparison works in the type of what it compares
            if first is not None and first.name in kinds:
                layer.precision = kinds[first.name]


def leave_out_libraries(config: Any, keep_cublas: bool) -> None:
    """Use TensorRT's own kernels only, so that engines need neither cuDNN nor, for the most part, cuBLAS.

    Args:
        config: of the builder.
        keep_cublas: NVIDIA's deformable convolution gets its cuBLAS handle only if cuBLAS is a tactic source.
    """
    import tensorrt as trt

    sources = trt.TacticSource
    own = 1 << int(sources.EDGE_MASK_CONVOLUTIONS) | 1 << int(sources.JIT_CONVOLUTIONS)
    config.set_tactic_sources(own | (1 << int(sources.CUBLAS) if keep_cublas else 0))


def has_progress_monitor() -> bool:
    """Return whether TensorRT reports the phases of a build, as from version 10 on."""
    import tensorrt as trt

    return hasattr(trt, "IProgressMonitor")


def scratch_size(engine: Any) -> int:
    """Return the bytes that any of the engine's profiles needs for activations."""
    size = engine.device_memory_size_v2 if _has_sized_memory(engine) else engine.device_memory_size
    return max(int(size), 1)


def create_context(engine: Any) -> Any:
    """Return an execution context without memory of its own, None if TensorRT refuses; see `set_scratch`."""
    import tensorrt as trt

    if _has_sized_memory(engine):
        return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    return engine.create_execution_context_without_device_memory()


def set_scratch(engine: Any, context: Any, address: int, size: int) -> None:
    """Give a context the memory for its activations, `scratch_size` bytes or more."""
    if _has_sized_memory(engine):
        context.set_device_memory(address, size)
    else:
        context.device_memory = address


def _has_sized_memory(engine: Any) -> bool:
    """Return whether the size of the memory is stated, as from version 10.1 on."""
    return hasattr(engine, "device_memory_size_v2")
