"""Training that starts from a checkpoint or from an exported model."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fairmot.core.errors import ModelError
from fairmot.engine.model import BUNDLED_WEIGHTS
from fairmot.export.networks import HeadSizes, build_network
from fairmot.training.initial_weights import initialize

SIZE = (96, 64)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    from fairmot.engine.letterbox import Letterbox, letterbox
    from fairmot.video.synthetic.scene import Scene

    frames = [letterbox(image, Letterbox.fit((1280, 720), SIZE)) for image in map(Scene().render, (1, 90))]
    return torch.from_numpy(np.stack(frames)[..., ::-1].transpose(0, 3, 1, 2).copy()).float() / 255


@pytest.mark.parametrize("training", [False, True])
def test_an_exported_model_computes_the_same(images: torch.Tensor, training: bool) -> None:
    network = build_network("dla_34_lite")
    initialize(network, BUNDLED_WEIGHTS, images)
    with torch.no_grad():
        heads = network.train(training)(images)
    session = onnxruntime.InferenceSession(str(BUNDLED_WEIGHTS))
    for head, output in {"wh": "box", "reg": "offset"}.items():
        (expected,) = session.run([output], {"images": images.numpy()})
        np.testing.assert_allclose(heads[head].numpy(), expected, rtol=1e-3, atol=1e-3)


def test_heads_of_other_sizes_are_new(images: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    network = build_network("dla_34_lite", classes=3)
    own = network.hm[2].bias.detach().clone()
    initialize(network, BUNDLED_WEIGHTS, images)
    assert torch.equal(network.hm[2].bias, own)
    assert "new: the heads hm" in caplog.text


def test_a_checkpoint(tmp_path: Path, images: torch.Tensor) -> None:
    sizes = HeadSizes(embedding=8, hidden=8)
    source, target = build_network("res_18", sizes), build_network("res_18", sizes)
    torch.save({"epoch": 3, "state_dict": source.state_dict()}, tmp_path / "a.pth")
    initialize(target, tmp_path / "a.pth", images)
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_another_architecture_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ModelError, match=r"of another architecture .* --settings\.architecture"):
        initialize(build_network("res_18"), BUNDLED_WEIGHTS, images)
