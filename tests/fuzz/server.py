"""A fork server: imports the product once, then runs every command in a fork of itself.

Reads one JSON job per line from standard input and answers each with one JSON line on standard output. A job is run
as the command line would run it (`runpy`, run name `__main__`), so the fork leaves through Python's own exit. The
server has one thread: a fork of several would inherit locks that nobody frees. So ONNX Runtime, which starts one when
it is imported, is left to the forks.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# For speed alone: a name that is gone is skipped, and a fork imports what it lacks.
_PRELOADED = (
    "av",
    "cv2",
    "onnx",
    "scipy.optimize",
    "motmetrics",
    "jsonargparse",
    "rich.measure",
    "rich.table",
    "fairmot.app.command",
    "fairmot.cli.main",
    "fairmot.cli.options",
    "fairmot.engine.trt.inspect",
    "fairmot.engine.letterbox",
    "fairmot.engine.decode",
    "fairmot.engine.graph.grid_sample",
    "fairmot.tracker.association",
    "fairmot.tracker.evaluation.report",
    "fairmot.tracker.evaluation.overlap",
    "fairmot.video.synthetic.demo",
)
_LARGEST_FILE = 2**29
_POLL_SECONDS = 0.004
_DUMP_SECONDS = 1.0


def serve() -> dict[str, Any] | None:
    """Answer jobs until standard input ends; in a fork, return its job."""
    sys.path.insert(0, str(ROOT))
    for name in _PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"The fork server has {threads} threads; leave what starts them out of _PRELOADED.")
    gc.collect()
    gc.freeze()  # or the collector of every fork would copy all of this
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return job
        print(json.dumps(_wait(pid, job["timeout"])), flush=True)
    return None


def _wait(pid: int, timeout: float) -> dict[str, Any]:
    """Wait for a fork; after `timeout` let it print where it is, and kill it."""
    began = time.monotonic()
    hung = False
    done, status, usage = os.wait4(pid, os.WNOHANG)
    while not done:
        if time.monotonic() - began > timeout:
            hung = True
            os.kill(pid, signal.SIGUSR1)
            time.sleep(_DUMP_SECONDS)
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(_POLL_SECONDS)
        done, status, usage = os.wait4(pid, os.WNOHANG)
    seconds = time.monotonic() - began
    with suppress(ProcessLookupError, PermissionError):  # what it may have left running; it leads a group
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "hung": hung, "seconds": seconds, "megabytes": usage.ru_maxrss / 1024}


def run(job: dict[str, Any]) -> None:
    """Become the process of a job: its files, folder and limits, then its command."""
    os.setsid()
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, job["stdout"], None), (2, job["stderr"], None)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if flags is None else flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - without what the server has read ahead
    sys.stdout.reconfigure(encoding=job["encoding"])  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding=job["encoding"])  # type: ignore[union-attr]
    os.environ.update(job["environment"])
    tempfile.tempdir = None
    os.chdir(job["folder"])
    sys.argv[1:] = job["arguments"]
    cpu_seconds = int(4 * job["timeout"])  # of all threads; a last resort, should the server be killed
    for limit, value in (
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if job["module"]:
        runpy.run_module(job["command"], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(job["command"], run_name="__main__")


if __name__ == "__main__":
    forked = serve()
    if forked is not None:
        run(forked)
