"""The oracle of the GPU tests against other authors' code: ONNX's own evaluator and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from support.dcn_reference import deform_conv, deform_conv_block, normalize, pack_weight, split_predicted, upsample_add


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "kernel", "strides", "pads", "dilations", "groups", "offset_groups"),
    [
        (4, 6, (5, 6), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, 1),
        (4, 4, (7, 6), (3, 2), (2, 1), (1, 2, 0, 1), (1, 2), 2, 2),
        (2, 3, (4, 4), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 2),
    ],
)
def test_deform_conv_equals_the_evaluator_of_onnx(
    channels, outputs, size, kernel, strides, pads, dilations, groups, offset_groups
) -> None:
    random = np.random.default_rng(1)
    taps = kernel[0] * kernel[1]
    rows, columns = (
        (size[a] + pads[a] + pads[a + 2] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1 for a in (0, 1)
    )
    x = random.normal(size=(2, channels, *size)).astype(np.float32)
    offset = random.normal(scale=2, size=(2, 2 * taps * offset_groups, rows, columns)).astype(np.float32)
    mask = random.random((2, taps * offset_groups, rows, columns)).astype(np.float32)
    weight = random.normal(size=(outputs, channels // groups, *kernel)).astype(np.float32)
    bias = random.normal(size=outputs).astype(np.float32)
    node = helper.make_node(
        "DeformConv",
        ["x", "weight", "offset", "bias", "mask"],
        ["y"],
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=groups,
        offset_group=offset_groups,
    )
    feed = {"x": x, "weight": weight, "offset": offset, "bias": bias, "mask": mask}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in feed.items()]
    outputs_info = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(
        helper.make_graph([node], "layer", inputs, outputs_info), opset_imports=[helper.make_opsetid("", 19)]
    )
    (expected,) = ReferenceEvaluator(model).run(None, feed)
    found = deform_conv(x, offset, mask, weight, bias, strides, pads, dilations, groups, offset_groups)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_samples_far_outside_are_zero() -> None:
    random = np.random.default_rng(2)
    x, weight = random.normal(size=(1, 3, 4, 5)), random.normal(size=(2, 3, 3, 3))
    offset = random.choice([-1e6, 1e6, 3e4], size=(1, 18, 4, 5))
    assert not deform_conv(x, offset, None, weight, None, pads=(1, 1, 1, 1)).any()


def test_packed_weight_multiplies_columns_ordered_by_tap_then_channel() -> None:
    random = np.random.default_rng(3)
    weight = random.integers(-8, 8, size=(16, 24, 3, 3)).astype(np.float32)
    columns = random.integers(-8, 8, size=(24, 9)).astype(np.float32)
    flat = np.zeros(4 * 64, np.float32)
    flat[: 24 * 9] = columns.T.reshape(-1)
    packed = pack_weight(weight)
    assert packed.shape == (4, 16, 64)
    found = np.einsum("soj,sj->o", packed.astype(np.float32), flat.reshape(4, 64))
    np.testing.assert_array_equal(found, np.einsum("oct,ct->o", weight.reshape(16, 24, 9), columns))


def test_predicted_holds_offsets_then_logits() -> None:
    predicted = np.arange(27.0).reshape(1, 27, 1, 1) - 20
    offset, mask = split_predicted(predicted, 9, 1)
    np.testing.assert_array_equal(offset, predicted[:, :18])
    np.testing.assert_allclose(mask, torch.sigmoid(torch.from_numpy(predicted[:, 18:])).numpy())


@pytest.mark.parametrize("relu", [False, True])
def test_block_predicts_offsets_and_mask_by_a_convolution_of_torch(relu: bool) -> None:
    random = np.random.default_rng(5)
    x, weight, bias = (random.normal(size=shape) for shape in ((2, 8, 5, 6), (4, 8, 3, 3), (4,)))
    offset_weight, offset_bias = random.normal(scale=0.3, size=(27, 8, 3, 3)), random.normal(size=27)
    predicted = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, offset_weight, offset_bias)), padding=1)
    offset, mask = predicted[:, :18].numpy(), torch.sigmoid(predicted[:, 18:]).numpy()
    expected = deform_conv(x, offset, mask, weight, bias, pads=(1, 1, 1, 1))
    assert expected.min() < 0
    found = deform_conv_block(x, offset_weight, offset_bias, weight, bias, relu)
    np.testing.assert_allclose(found, np.maximum(expected, 0) if relu else expected, atol=1e-9)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsample_add_equals_torch(factor: int) -> None:
    random = np.random.default_rng(factor)
    x, skip = random.normal(size=(2, 8, 3, 5)), random.normal(size=(2, 8, 3 * factor, 5 * factor))
    weight = random.normal(size=(2 * factor, 2 * factor, 8))
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x),
        torch.from_numpy(weight.transpose(2, 0, 1)[:, None].copy()),
        stride=factor,
        padding=factor // 2,
        groups=8,
    )
    np.testing.assert_allclose(upsample_add(x, weight, skip), expected.numpy() + skip, atol=1e-12)


def test_normalize_equals_torch() -> None:
    x = np.random.default_rng(4).normal(size=(2, 8, 3, 5))
    x[0, :, 1, 1] = 0
    expected = torch.nn.functional.normalize(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(normalize(x), expected, atol=1e-12)
