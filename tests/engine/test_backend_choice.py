"""The choice of backend and layers on a machine without a GPU; the rest is in test_gpu_engine.py."""

from __future__ import annotations

import importlib.util
import logging
import sys

import pytest

from fairmot.core import ConfigError
from fairmot.engine import factory
from fairmot.engine.cuda.driver import find_driver
from fairmot.engine.trt.capabilities import unrun_version, warn_of_unrun_version
from fairmot.engine.trt.dcn_choice import choose_dcn
from fairmot.plugins import library

without_gpu = pytest.mark.skipif(find_driver() is not None, reason="there is a GPU")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_missing_packages_are_named() -> None:
    with pytest.raises(ConfigError, match=r"^No engine can run on this machine: tensorrt cannot run here: tensorrt "):
        factory.choose_backend("tensorrt", factory.BACKENDS)
    backend, why = factory.choose_backend("auto", factory.BACKENDS)
    assert backend.name == "onnxruntime"
    assert "not installed" in why


@without_gpu
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_a_missing_gpu_is_the_reason_once_the_packages_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    wanted = {"tensorrt": "json", "pycuda": "json"}  # any package that is there
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: real(wanted.get(name, name), *rest))
    backend, why = factory.choose_backend("auto", factory.BACKENDS)
    assert backend.name == "onnxruntime"
    assert why.startswith("tensorrt cannot run here: ")
    assert "driver" in why or "GPU" in why
    assert not why.endswith(".")


def test_other_systems_than_linux_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert factory.BACKENDS[0].unavailable_reason() == "it needs Linux"


@pytest.mark.parametrize("wanted", ["native", "nvidia"])
def test_layers_that_are_asked_for(wanted) -> None:
    assert choose_dcn(wanted) == wanted


@without_gpu
def test_plugins_that_cannot_be_built(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_dcn("auto") == "native"
    (warning,) = caplog.messages
    assert "slower" in warning
    with pytest.raises(ConfigError, match=r"^The TensorRT plugins cannot be used: There is no NVIDIA GPU"):
        choose_dcn("plugin")


@pytest.mark.parametrize("wanted", ["auto", "plugin"])
def test_plugins_that_are_there(wanted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "unavailable_reason", lambda: None)
    assert choose_dcn(wanted) == "plugin"


@pytest.mark.parametrize("version", ["8.6.0", "8.6.1.post1", "8.6"])
def test_versions_that_were_run(version: str) -> None:
    assert unrun_version(version) is None


@pytest.mark.parametrize(
    ("version", "name"), [("10.9.0.34", "10.9"), ("11.1.0.106", "11.1"), ("8.60.1", "8.60"), ("8.5.3.1", "8.5")]
)
def test_versions_that_were_not_run_are_told_once(version: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    expected = f"TensorRT {name} has not been run with this project (8.6 has); results may differ"
    assert unrun_version(version) == expected
    for _ in range(2):
        warn_of_unrun_version(version)
    assert caplog.messages == [expected]
