"""The cache of built engines: one file per model, settings and machine, built by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from fairmot.core.errors import OutputError
from fairmot.core.trust import private_cache
from fairmot.engine.graph.prepare import VERSION
from fairmot.engine.model import ModelFile
from fairmot.engine.trt.plan import BuildSettings, Host


def file_sha256(path: Path) -> str:
    """Return the checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plan_path(model: ModelFile, model_sha256: str, settings: BuildSettings, host: Host) -> Path:
    """Return the path of the plan of this model, with these settings, for this machine.

    Raises:
        ConfigError: if other users can change what the cache holds.
        OutputError: if the cache cannot be made.
    """
    size = settings.size or model.size
    identity = [model_sha256, asdict(settings) | {"size": size}, asdict(host), VERSION]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    batches = "-".join(map(str, settings.batches))
    name = f"{model.path.stem}-{settings.precision}-{settings.dcn}-{size[0]}x{size[1]}-b{batches}-{key}.plan"
    return private_cache("engines") / name


def timing_cache_path(host: Host) -> Path:
    """Return the path of TensorRT's measurements of its own kernels, for a machine and a version.

    Raises:
        ConfigError: if other users can change what the cache holds.
        OutputError: if the cache cannot be made.
    """
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{host.gpu}-{host.tensorrt}")
    return private_cache("timing") / f"{name}.cache"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock named after a file, so that only one process builds it; others wait.

    Raises:
        OutputError: if the lock file cannot be written.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise OutputError(f"Cannot write {lock}: {error.strerror}.") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
