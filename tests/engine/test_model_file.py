"""Model files that cannot be used: each gives one sentence with the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support import blob_network

import fairmot.engine.model
import fairmot.engine.onnx_file
from fairmot.core import ModelError
from fairmot.engine import EngineSettings, ModelInfo, open_engine


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_engine(EngineSettings(weights=path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no model file" in refused(tmp_path / "absent.onnx")
    assert "no model file" in refused(tmp_path)


def test_the_bundled_model_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairmot.engine.model, "BUNDLED_WEIGHTS", tmp_path / "dla_34_lite.onnx")
    with pytest.raises(ModelError, match=r"bundled model .* is missing"):
        open_engine()


@pytest.mark.parametrize("content", [b"", b"\x08", b"just a text\n", b"\x80\x02}q\x00.", b"PK\x03\x04 a zip"])
def test_not_an_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.onnx"
    path.write_bytes(content)
    assert "not an ONNX file" in refused(path)


def test_a_truncated_file_at_every_length(tmp_path: Path) -> None:
    content = blob_network.save(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "part.onnx"
    for length in (*range(2, 40), *range(40, len(content), 97), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"damaged|not an ONNX|metadata"):
            ModelInfo.read(path)


def test_a_file_without_our_metadata(tmp_path: Path) -> None:
    message = refused(blob_network.save(tmp_path / "foreign.onnx", blob_network.build({})))
    assert "no FairMOT metadata" in message
    assert "fairmot export" in message


@pytest.mark.parametrize("missing", ["heatmap", "box", "offset"])
def test_a_missing_output_is_named_with_what_was_found(tmp_path: Path, missing: str) -> None:
    message = refused(blob_network.save(tmp_path / "model.onnx", blob_network.build(without=[missing])))
    assert f'no output "{missing}"' in message
    assert '"embedding"' in message


def test_a_wrong_stride(tmp_path: Path) -> None:
    message = refused(blob_network.save(tmp_path / "model.onnx", blob_network.build(cell=8)))
    assert '"heatmap" has 1x4x4 (channels, rows, columns) instead of 1x8x8' in message
    assert "stride of 4" in message


def test_a_wrong_number_of_classes(tmp_path: Path) -> None:
    metadata = blob_network.metadata(class_names='["a", "b"]')
    message = refused(blob_network.save(tmp_path / "model.onnx", blob_network.build(metadata)))
    assert "1x8x8" in message
    assert "2x8x8" in message


@pytest.mark.parametrize("shape", [(1, 3, "h", "w"), ("n", 3, 64, 96), ("n", 1, "h", "w"), (3, "h", "w")])
def test_another_input_shape(tmp_path: Path, shape: tuple[str | int, ...]) -> None:
    model = blob_network.build()
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("images", 1, shape))
    assert "(n, 3, h, w)" in refused(blob_network.save(tmp_path / "model.onnx", model))


def test_another_input_name(tmp_path: Path) -> None:
    model = blob_network.build()
    model.graph.input[0].name = "input.1"
    next(node for node in model.graph.node if node.op_type == "AveragePool").input[0] = "input.1"
    assert '"images" but has "input.1"' in refused(blob_network.save(tmp_path / "model.onnx", model))


def test_an_embedding_of_unknown_size(tmp_path: Path) -> None:
    model = blob_network.build()
    model.graph.output[3].type.tensor_type.shape.dim[1].dim_param = "d"
    assert "number of channels" in refused(blob_network.save(tmp_path / "model.onnx", model))


def test_weights_that_do_not_fit_the_network(tmp_path: Path) -> None:
    model = blob_network.build()
    for tensor in model.graph.initializer:
        if tensor.name == "embed":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((8, 5, 1, 1), np.float32), "embed"))
    assert "kernel channels: 5" in refused(blob_network.save(tmp_path / "model.onnx", model))


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    path, beside = tmp_path / "model.onnx", tmp_path / "model.data"
    onnx.save(blob_network.build(), path, save_as_external_data=True, location=beside.name, size_threshold=0)
    whole = [onnx.numpy_helper.to_array(each) for each in blob_network.build().graph.initializer]
    found = [onnx.numpy_helper.to_array(each) for each in fairmot.engine.onnx_file.load_onnx(path).graph.initializer]
    assert all(np.array_equal(a, b) for a, b in zip(whole, found, strict=True))
    ModelInfo.read(path)
    beside.unlink()
    assert "files beside" in refused(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "2"),
        ("stride", "four"),
        ("stride", "0"),
        ("size", "96"),
        ("size", "100x64"),
        ("size_multiple", "33"),
        ("channel_order", "gbr"),
        ("mean", "0,0"),
        ("mean", "0,0,nan"),
        ("std", "1,0,1"),
        ("border", "300"),
        ("border", "1.5"),
        ("resize", "nearest"),
        ("class_names", "person"),
        ("class_names", "[]"),
        ("raw_heads", "yes"),
    ],
)
def test_wrong_metadata_is_named(tmp_path: Path, key: str, value: str) -> None:
    model = blob_network.build(blob_network.metadata(**{key: value}))
    message = refused(blob_network.save(tmp_path / "model.onnx", model))
    assert f'"{value}"' in message
    assert key in message
