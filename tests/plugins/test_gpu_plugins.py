"""Every plugin in a TensorRT engine, built from ONNX, saved, loaded and run, against float64."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from onnx import helper
from plugin_cases import DYNAMIC_CASES, FLOAT_CASES, HALF_CASES, HWC8, LINEAR, Case, onnx_bytes
from support.dcn_reference import Array

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def trt() -> Any:
    tensorrt = pytest.importorskip("tensorrt")
    from fairmot.plugins import library

    library.load(tensorrt)
    return tensorrt


MESSAGES: list[Messages] = []  # never freed: TensorRT keeps the first logger of a process for its plugins


class Messages:
    """Errors logged by TensorRT."""

    def __init__(self, trt: Any) -> None:
        self.lines: list[str] = []
        lines, severity_of = self.lines, trt.ILogger.Severity

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (severity_of.ERROR, severity_of.INTERNAL_ERROR):
                    lines.append(message)

        self.logger = Logger()
        MESSAGES.append(self)


def network_of(trt: Any, messages: Messages, model: bytes) -> tuple[Any, Any, Any]:
    """Return builder, network (None if the file cannot be parsed) and the parser, which owns the weights."""
    builder = trt.Builder(messages.logger)
    flags = trt.NetworkDefinitionCreationFlag
    flag = flags.EXPLICIT_BATCH if int(trt.__version__.split(".")[0]) < 10 else flags.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse(model):
        messages.lines += [parser.get_error(i).desc() for i in range(parser.num_errors)]
        return builder, None, parser
    return builder, network, parser


def config_of(trt: Any, builder: Any) -> Any:
    """Return a configuration that needs neither cuBLAS nor cuDNN, as engines are built."""
    config = builder.create_builder_config()
    if int(trt.__version__.split(".")[0]) < 10:
        from fairmot.engine.trt.capabilities import leave_out_libraries

        leave_out_libraries(config, keep_cublas=False)
    return config


def build(trt: Any, cases: list[Case], dynamic_batch: bool = False) -> Any:
    """Return an engine with one layer per case, whose tensors have the cases' formats without reformatting."""
    messages = Messages(trt)
    builder, network, _parser = network_of(trt, messages, onnx_bytes(cases, dynamic_batch))
    assert network is not None, messages.lines
    formats = {LINEAR: 1 << int(trt.TensorFormat.LINEAR), HWC8: 1 << int(trt.TensorFormat.HWC8)}
    by_name = {name: layout for case in cases for name, layout in case.formats.items()}
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    for tensor in tensors:
        tensor.allowed_formats = formats[by_name[tensor.name]]
    config = config_of(trt, builder)
    config.builder_optimization_level = 0
    config.set_flag(trt.BuilderFlag.DIRECT_IO)
    halves = any(array.dtype == np.float16 for case in cases for array in case.inputs.values())
    if halves and int(trt.__version__.split(".")[0]) < 10:
        config.set_flag(trt.BuilderFlag.FP16)
    if dynamic_batch:
        profile = builder.create_optimization_profile()
        for case in cases:
            for name, array in case.inputs.items():
                profile.set_shape(name, *((batch, *array.shape[1:]) for batch in (1, 2, 3)))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, messages.lines
    runtime = trt.Runtime(messages.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    assert engine is not None, messages.lines
    return engine, runtime, messages


def run(engine: Any, cases: list[Case], inputs: dict[str, Array]) -> dict[str, Array]:
    """Return the outputs of one execution by tensor name."""
    import torch

    context = engine.create_execution_context()
    buffers, shapes = {}, {}
    for case in cases:
        for name in case.inputs:
            context.set_input_shape(name, inputs[name].shape)
            host = torch.from_numpy(np.ascontiguousarray(inputs[name]))
            buffers[name] = channels_last(host) if case.formats[name] == HWC8 else host.cuda()
    for case in cases:
        shape = shapes[case.output] = tuple(context.get_tensor_shape(case.output))
        dtype = torch.float32 if case.output_type is np.float32 else torch.float16
        empty = torch.full(shape, float("nan"), dtype=dtype)
        buffers[case.output] = channels_last(empty) if case.formats[case.output] == HWC8 else empty.cuda()
    for name, buffer in buffers.items():
        context.set_tensor_address(name, buffer.data_ptr())
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    outputs = {}
    for case in cases:
        buffer = buffers[case.output].cpu()
        if case.formats[case.output] == HWC8:
            buffer = buffer.permute(0, 3, 1, 2)[:, : shapes[case.output][1]]
        outputs[case.output] = buffer.numpy().astype(np.float64)
    return outputs


def channels_last(tensor: Any) -> Any:
    """Return (n, c, h, w) as (n, h, w, c) on the GPU, c filled to a multiple of 8."""
    import torch

    padded = torch.nn.functional.pad(tensor, (0, 0, 0, 0, 0, -tensor.shape[1] % 8))
    return padded.permute(0, 2, 3, 1).contiguous().cuda()


def assert_close(case: Case, found: Array, inputs: dict[str, Array]) -> None:
    expected = case.expected(inputs)
    assert found.shape == expected.shape
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= case.tolerance, f"{case.name}: error {error:.2e} of the largest value"


@pytest.fixture(scope="module")
def results(trt: Any) -> dict[str, Array]:
    """Outputs of all cases of fixed batch."""
    found = {}
    for cases in (FLOAT_CASES, HALF_CASES):
        engine, _runtime, _messages = build(trt, cases)
        found |= run(engine, cases, {name: array for case in cases for name, array in case.inputs.items()})
    return found


@pytest.mark.parametrize("case", [*FLOAT_CASES, *HALF_CASES], ids=lambda case: case.name)
def test_plugin_equals_float64(case: Case, results: dict[str, Array]) -> None:
    assert_close(case, results[case.output], case.inputs)


def test_batch_is_chosen_at_run_time(trt: Any) -> None:
    engine, _runtime, _messages = build(trt, DYNAMIC_CASES, dynamic_batch=True)
    for batch in (1, 3):
        inputs = {name: array[:batch] for case in DYNAMIC_CASES for name, array in case.inputs.items()}
        outputs = run(engine, DYNAMIC_CASES, inputs)
        for case in DYNAMIC_CASES:
            own = {name: inputs[name] for name in case.inputs}
            assert_close(case, outputs[case.output], own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": [0, 1]}, 'DeformConv: attribute "strides" is 0 but must be 1 to'),
        ({"pads": [1, 1, 1]}, 'DeformConv: attribute "pads" has 3 numbers instead of 4.'),
        ({"strides": [2, 2]}, "DeformConv: offset is 2x18x13x17 but must be 2x18x7x9."),
        ({"group": 3}, "DeformConv: the channels of x must be a multiple of the groups and of the offset groups."),
    ],
)
def test_errors_are_logged_as_one_line(
    trt: Any,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    message: str,
) -> None:
    caplog.set_level(logging.DEBUG)  # at which the engine's own logger passes errors on
    case = FLOAT_CASES[0]
    kept = {attribute.name: helper.get_attribute_value(attribute) for attribute in case.node.attribute}
    node = helper.make_node("DeformConv", list(case.node.input), list(case.node.output), **(kept | change))
    broken = Case(case.name, node, case.inputs, case.weights, case.formats, case.expected, case.tolerance)
    messages = Messages(trt)
    builder, network, _parser = network_of(trt, messages, onnx_bytes([broken], False))
    if network is not None:
        assert builder.build_serialized_network(network, config_of(trt, builder)) is None
    # Which logger TensorRT gives to plugins depends on what else ran in this process.
    logged = "\n".join([*(line for messages in MESSAGES for line in messages.lines), caplog.text])
    assert message in logged + capfd.readouterr().err
