"""Sampling by the Triton kernel against PyTorch's operators: on a GPU, or on the CPU in Triton's interpreter."""

import os

import pytest
import torch
from trainee import SIZE, blob_store

from fairmot.training import augment
from fairmot.training.augment import Augmenter
from fairmot.training.augment_settings import AugmentSettings

pytest.importorskip("triton", reason="Triton is not installed")
from fairmot.training.sampling_triton import sample_triton

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(
            "cpu", marks=pytest.mark.skipif(not INTERPRETED, reason="the interpreter wants TRITON_INTERPRET=1")
        ),
        pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(INTERPRETED, reason="interpreted on the CPU")]),
    ],
)
def test_mosaics_and_whole_images(device, monkeypatch):
    store = blob_store().to(torch.device(device))
    augmenter = Augmenter(store, SIZE, AugmentSettings(rotation=0.3), 0)
    augmenter.generator.manual_seed(1)
    sources = torch.multinomial(store.weights, 3 * 4, True, generator=augmenter.generator).view(3, 4)
    corners = augmenter._tiles(3, store.pixels.device)
    forward = augmenter._affine(sources, corners)
    inverse = augment._inverse(forward)
    found = sample_triton(store.pixels, store.sizes, sources, corners, inverse, SIZE, augment._BORDER)
    monkeypatch.setattr(augment, "triton_builds", lambda device: False)
    expected = augmenter._sample(sources, corners, forward)
    # On the very edge of an image rounding decides what is outside.
    assert ((found - expected).abs() > 1e-4).float().mean() < 1e-3
    assert float(expected.std()) > 0.1
