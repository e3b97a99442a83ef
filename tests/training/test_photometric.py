"""Changes of images that leave boxes where they are."""

import cv2
import numpy as np
import pytest
import torch

from fairmot.training.augment_settings import PhotometricSettings
from fairmot.training.jpeg import jpeg_loss
from fairmot.training.photometric import motion_blur, photometric
from fairmot.video.synthetic.scene import Scene


@pytest.fixture(scope="module")
def photo():
    """A rendered street, `(1, 3, 320, 576)`."""
    image = Scene.random(3, (576, 320), people=12).render(40)
    return torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("quality", [8, 30, 50, 80])
def test_jpeg_loss_is_that_of_a_codec(photo, quality):
    ours = jpeg_loss(photo, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy() * 255
    image = (photo[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    codec = cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)
    loss = np.abs(codec - image[..., ::-1]).mean()
    assert np.abs(ours - codec).mean() < 0.4 * loss  # a codec also rounds colors to whole numbers
    assert np.abs(ours - image[..., ::-1]).mean() == pytest.approx(loss, rel=0.1)


def test_jpeg_loss_by_image(photo):
    both = jpeg_loss(photo.expand(2, -1, -1, -1), torch.tensor([10.0, 60.0]))
    assert torch.allclose(both[1:], jpeg_loss(photo, torch.tensor([60.0])), atol=1e-5)
    assert (both[0] - photo).abs().mean() > 1.5 * (both[1] - photo).abs().mean()


@pytest.mark.parametrize(("degrees", "size"), [(0, (1, 9)), (90, (9, 1)), (45, (7, 7))])
def test_motion_blur_draws_a_line(degrees, size):
    images = torch.zeros(1, 3, 32, 32)
    images[..., 16, 16] = 1
    blurred = motion_blur(images, torch.tensor([8.0]), torch.tensor([degrees * torch.pi / 180]), 8.0)
    assert float(blurred.sum()) == pytest.approx(3, rel=1e-5)
    rows, columns = (blurred[0, 0] > 0.03).nonzero(as_tuple=True)
    assert (int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)) == size
    assert torch.equal(blurred[0, 0], blurred[0, 2])


def test_motion_blur_keeps_flat_images():
    images = torch.full((2, 3, 16, 16), 0.3)
    assert torch.allclose(motion_blur(images, torch.tensor([2.0, 9.0]), torch.tensor([0.4, 2.0]), 9.0), images)


@pytest.mark.parametrize("name", ["motion", "jpeg"])
def test_share_of_changed_images(photo, name):
    images = photo[..., :96, :128].expand(8, -1, -1, -1)

    def changed(**shares):
        settings = PhotometricSettings(**({"motion": 0.0, "jpeg": 0.0} | shares))
        return photometric(images, settings, torch.Generator().manual_seed(5))

    differs = (changed(**{name: 0.25}) != changed()).flatten(1).any(1)
    assert int(differs.sum()) == 2
    assert changed(motion=1.0, jpeg=1.0).shape == images.shape
