"""The processes of one training run: a single one, or one per GPU under `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from fairmot.core.errors import ConfigError

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        device: where this process computes.
        rank: its number, from 0; the first one validates and writes.
        count: how many there are.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """True in the process that validates and writes."""
        return self.rank == 0

    def share(self, total: int) -> int:
        """Return this process's part of `total`.

        Raises:
            ConfigError: if it cannot be divided evenly.
        """
        if total % self.count:
            raise ConfigError(f"Choose a batch that {self.count} processes can share evenly instead of {total}.")
        return total // self.count

    def union(self, items: set[T]) -> set[T]:
        """Return the union of the `items` of all processes."""
        if self.count == 1:
            return items
        everyone: list[set[T]] = [set()] * self.count
        dist.all_gather_object(everyone, items)
        return set().union(*everyone)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of equally long `values` over the processes."""
        if self.count == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.count

    def largest(self, number: int) -> int:
        """Return the largest `number` of all processes, over gloo, so without synchronizing their GPUs."""
        if self.count == 1:
            return number
        value = torch.tensor(number)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module such that `backward` averages its gradients over the processes."""
        if self.count == 1:
            return module
        gpus = [self.device] if self.device.type == "cuda" else None
        # DLA has layers that it does not use, since the official checkpoints have them.
        return DistributedDataParallel(module, device_ids=gpus, find_unused_parameters=True)


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that `torchrun` started (by `RANK`, `LOCAL_RANK` and `WORLD_SIZE`), or be the only one."""
    gpus = torch.cuda.device_count()
    if "LOCAL_RANK" not in os.environ:
        yield Processes(torch.device("cuda" if gpus else "cpu"))
        return
    local = int(os.environ["LOCAL_RANK"])
    if gpus and local >= gpus:
        raise ConfigError(f"Start at most {gpus} processes with --nproc-per-node, one for each GPU.")
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", device_id=device if gpus else None)
    try:
        yield Processes(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
