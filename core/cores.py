"""How many processor cores this process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def usable_cores() -> int:
    """Count the physical cores that this process may use, by CPU affinity and control group quota (Linux)."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cores = len({_read(topology.format(cpu)) or str(cpu) for cpu in os.sched_getaffinity(0)})
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
