"""From a checkpoint to an ONNX file: network definitions, strict loading, export and verification."""
