from __future__ import annotations

from pathlib import Path

import blob_network
import pytest


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_network.save(tmp_path_factory.mktemp("weights") / "blobs.onnx")
