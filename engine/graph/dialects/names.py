"""Names of the dialects that can be written."""

from __future__ import annotations

from typing import Literal

Dialect = Literal["deformconv", "dcnv2", "plugin", "deformableconv2d"]
"""The operator of deformable convolutions: ONNX's own, or one of an older exporter."""
