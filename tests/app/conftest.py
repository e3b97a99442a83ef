from __future__ import annotations

from pathlib import Path

import pytest
from support import blob_network


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_network.save(tmp_path_factory.mktemp("weights") / "blobs.onnx")
