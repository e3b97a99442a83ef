"""The Ray cluster of a fleet: started on this machine or joined, and the places for workers on its machines."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fairmot.core.errors import UserError
from fairmot.core.text import reason_of
from fairmot.core.version import PROJECT

# Set before Ray is loaded, which reads them then.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # of what machines that fail send to this process's standard output
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about workers without GPU
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray as ray  # noqa: E402  # for the other modules too
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

_STORE_BYTES = 512 * 2**20  # shared memory of Ray here: it holds the weights and short answers
_LONGEST_TEMPORARY = 36  # characters; below such a folder Ray has sockets, whose paths may have 107
_REACH_SECONDS = 10.0
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Slot:
    """A place for one worker.

    Attributes:
        node: Ray's identifier of the machine.
        number: of the place on the machine, from 0.
        host: name of the machine.
        gpus: share of a GPU, 0 on machines without.
        cpus: number of cores.
    """

    node: str
    number: int
    host: str
    gpus: float
    cpus: float


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join the cluster at an address, or start Ray on this machine; at the end it is left or ended.

    Raises:
        UserError: if there is no cluster that can be joined, or Ray cannot be started.
    """
    environment = _worker_environment()
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if environment:
        options["runtime_env"] = {"env_vars": environment}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "_node_ip_address": "127.0.0.1"}
        too_long = len(tempfile.gettempdir()) > _LONGEST_TEMPORARY
        if os.name == "posix" and too_long and "RAY_TMPDIR" not in os.environ:
            options["_temp_dir"] = "/tmp/ray"
    logging.getLogger("ray").setLevel(logging.ERROR)  # before Ray does so, it warns that it asks for access tokens
    if address is not None:
        _require_reachable(address)
    try:
        try:
            ray.init(address or "local", **options)
        except Exception as error:
            what = f"The Ray cluster {address} cannot be joined" if address else "Ray cannot be started"
            remedy = "check --address, and that Ray and Python have the same versions there" if address else "see docs"
            raise UserError(f"{what} ({reason_of(error)}); {remedy}.") from error
        yield
    finally:
        ray.shutdown()


def find_slots(workers_per_gpu: int, cpus_per_worker: int) -> list[Slot]:
    """Return the places for workers on all machines that are alive now, on each machine one after the other.

    On a machine with GPUs there are `workers_per_gpu` for each, on others one for so many cores, and at least one.

    Args:
        workers_per_gpu: number of workers that share a GPU.
        cpus_per_worker: cores of each worker.
    """
    slots = []
    for node in sorted(ray.nodes(), key=lambda node: str(node["NodeID"])):
        if not node["Alive"]:
            continue
        gpus, cores = int(node["Resources"].get("GPU", 0)), int(node["Resources"].get("CPU", 0))
        count = gpus * workers_per_gpu if gpus else max(cores // cpus_per_worker, min(cores, 1))
        if not count:
            continue
        fair = cores // count if cores >= count else cores / count  # Ray takes fractions below 1 alone
        share = (1 / workers_per_gpu if gpus else 0.0, min(float(cpus_per_worker), float(fair)))
        slots += [Slot(node["NodeID"], number, node["NodeManagerHostname"], *share) for number in range(count)]
    return slots


def start_actor(kind: type, slot: Slot, *arguments: Any) -> Any:
    """Start an actor in a slot and nowhere else, which is not restarted; returns at once."""
    options = {"num_gpus": slot.gpus, "num_cpus": slot.cpus, "max_restarts": 0, "max_concurrency": 1}
    return ray.remote(kind).options(scheduling_strategy=_on(slot.node), **options).remote(*arguments)


def run_on_all(function: Any, argument: Any, seconds: float) -> None:
    """Call a function on every machine that is alive, and wait for at most so long."""
    task = ray.remote(function)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    references = [
        task.options(num_cpus=0, max_retries=0, scheduling_strategy=_on(node)).remote(argument) for node in nodes
    ]
    if references:
        ray.wait(references, num_returns=len(references), timeout=seconds)


def _require_reachable(address: str) -> None:
    """Raise `UserError` if nothing listens at an address, for which Ray would wait for minutes.

    Only for addresses with a port; Ray finds others in its own ways.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"The Ray cluster {address} cannot be joined ({reason_of(error)}); check --address.") from error


def _on(node: str) -> Any:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _worker_environment() -> dict[str, str]:
    """Return what workers need so that they import this checkout, where the project is not installed."""
    try:
        version(PROJECT)
    except PackageNotFoundError:
        others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        return {"PYTHONPATH": os.pathsep.join([str(_ROOT), *others])}
    return {}
