"""The plan of several sources: which run at once, in how many processes, on which GPUs, with how many threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import PurePosixPath

from fairmot.app.options import Options
from fairmot.core import ConfigError
from fairmot.core.cores import usable_cores
from fairmot.engine import EngineSettings
from fairmot.engine.cuda.gpu import gpu_unavailable_reason
from fairmot.video.sources import names_camera
from fairmot.video.urls import LIVE_SCHEMES, is_url, scheme_of

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# One H200 with 16 cores, a 1080p file each: 484, 948, 1,506 and 1,490 frames/s in sum with 1, 2, 4 and 8 processes.
_JOBS_PER_GPU = 4
_CORES_PER_JOB = 2  # decoding, and the thread that tracks
_GPU_BYTES_PER_JOB = 2 * 2**30  # an estimate for dla_34 at 1088x608: the CUDA context, the plan, and what it computes
_ENGINES_SECONDS = 20.0  # that live sources wait for further engines once one is open
_FILE_SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wmv"})

# In an interpreter of its own: once CUDA is initialized, a process cannot choose its GPUs any more.
_LIST_GPUS = """
import ctypes
driver = ctypes.CDLL("libcuda.so.1")
count, device, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
if not driver.cuInit(0) and not driver.cuDeviceGetCount(ctypes.byref(count)):
    for index in range(count.value):
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        print(size.value)
"""


@dataclass(frozen=True)
class Gpu:
    """A GPU for jobs.

    Attributes:
        visible: what `CUDA_VISIBLE_DEVICES` calls it.
        memory: in bytes.
    """

    visible: str
    memory: int

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for a process that uses this GPU alone."""
        return {_VISIBLE: self.visible}


@dataclass(frozen=True)
class JobPlan:
    """The way in which several sources are tracked.

    Attributes:
        engine: settings of the engine in each process.
        live: positions of the sources that run at once, whatever `files` says.
        files: most other sources that run at the same time.
        gpus: over which the processes are spread; empty leaves the choice to CUDA.
    """

    engine: EngineSettings
    live: frozenset[int] = frozenset()
    files: int = 1
    gpus: Sequence[Gpu] = field(default_factory=tuple)


class LiveGate:
    """The moment from which live sources are handed out: when no process of the first ones is opening its engine.

    A camera whose first frames come while other processes load their engines, with all cores and the GPU, would lose
    some. One engine that takes long does not hold up the others' cameras for more than 20 seconds.
    """

    def __init__(self) -> None:
        self._first_ready: float | None = None
        self._is_open = False

    def is_open(self, opening: int, ready: int, now: float) -> bool:
        """Return whether live sources may be handed out; once they may, they always may.

        Args:
            opening: number of processes that are opening their engines.
            ready: number of those that have one.
            now: by `time.monotonic`.
        """
        if ready and not self._is_open:
            self._first_ready = now if self._first_ready is None else self._first_ready
            self._is_open = not opening or now - self._first_ready > _ENGINES_SECONDS
        return self._is_open


def plan_jobs(options: Options, specs: Sequence[str], gpus: Sequence[Gpu]) -> JobPlan | None:
    """Return the plan for some sources; None if they are tracked by this process, one after the other.

    Args:
        options: of the command.
        specs: the sources.
        gpus: of `--gpus`, see `chosen_gpus`.

    Raises:
        ConfigError: if several jobs are asked for where they cannot run.
    """
    if len(specs) < 2 or options.jobs == 1:
        return None
    if sys.platform == "win32":
        if options.jobs == "auto":
            return None
        raise ConfigError(f"--jobs {options.jobs} needs Linux or macOS; leave it out to track one after the other.")
    live = frozenset(number for number, spec in enumerate(specs) if runs_at_once(spec))
    others = len(specs) - len(live)
    files = _automatic(options, gpus) if options.jobs == "auto" else options.jobs
    files = min(files, others)
    processes = len(live) + files
    if processes < 2:
        return None
    threads = options.engine.threads or max(1, usable_cores() // processes)
    return JobPlan(replace(engine_for(options, gpus), threads=threads), live, files, gpus)


def engine_for(options: Options, gpus: Sequence[Gpu]) -> EngineSettings:
    """Return the settings of an engine, which has to run on a GPU where some were chosen."""
    return replace(options.engine, backend="tensorrt") if gpus else options.engine


def runs_at_once(spec: str) -> bool:
    """Return whether a source comes at its own pace, as far as its name shows: a camera, or a URL of no video file."""
    if not is_url(spec):
        return names_camera(spec)
    scheme = scheme_of(spec)
    if scheme in ("http", "https"):
        return PurePosixPath(re.split("[?#]", spec)[0]).suffix.lower() not in _FILE_SUFFIXES
    return scheme in LIVE_SCHEMES


def chosen_gpus(options: Options) -> tuple[Gpu, ...]:
    """Return the GPUs of `--gpus`, in the order in which they are given; none if it is left out.

    Raises:
        ConfigError: if there is no such GPU, or none at all.
    """
    if options.gpus is None:
        return ()
    present = _present_gpus()
    if not present:
        raise ConfigError("--gpus needs an NVIDIA GPU, and the driver finds none; leave it out to use the CPU.")
    if options.gpus == "all":
        return present
    chosen = dict.fromkeys(map(int, str(options.gpus).split(",")))
    for index in chosen:
        if index >= len(present):
            within = f" in {_VISIBLE}" if os.environ.get(_VISIBLE) else ""
            last = "is only number 0" if len(present) == 1 else f"are numbers 0 to {len(present) - 1}"
            raise ConfigError(f"--gpus: there is no GPU number {index}{within}; there {last}.")
    return tuple(present[index] for index in chosen)


def use_gpu(gpu: Gpu) -> None:
    """Let this process, which must not have used CUDA before, use a GPU alone."""
    os.environ.update(gpu.environment)


def _present_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA finds, within `CUDA_VISIBLE_DEVICES` if that is set."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", _LIST_GPUS], capture_output=True, text=True, check=False)
    sizes = [int(line) for line in done.stdout.split()]
    names = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return tuple(Gpu(name, size) for name, size in zip(names or map(str, range(len(sizes))), sizes, strict=False))


def _automatic(options: Options, gpus: Sequence[Gpu]) -> int:
    """Return how many files to track at the same time where the user does not say."""
    if options.show or not (gpus or _takes_gpu(options.engine)):
        return 1
    gpus = gpus or _present_gpus()[:1]
    room = sum(min(_JOBS_PER_GPU, max(1, gpu.memory // _GPU_BYTES_PER_JOB)) for gpu in gpus)
    return max(1, min(room, usable_cores() // _CORES_PER_JOB))


def _takes_gpu(settings: EngineSettings) -> bool:
    """Return whether the engine will run on a GPU, as far as that shows without loading anything."""
    if settings.backend != "auto":
        return settings.backend == "tensorrt"
    installed = sys.platform == "linux" and all(map(find_spec, ("tensorrt", "torch", "pycuda")))
    return installed and gpu_unavailable_reason() is None
