"""The training loop and its checkpoints."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairmot.core.errors import ConfigError, OutputError, UserError
from fairmot.core.files import replacing
from fairmot.core.renames import Renames
from fairmot.core.signals import StopSignals
from fairmot.training.augment import Augmenter, Batch
from fairmot.training.distributed import Processes
from fairmot.training.losses import FairMOTLoss, Targets, make_targets
from fairmot.training.outputs import UNREADABLE, writing
from fairmot.training.progress import EpochLog
from fairmot.training.settings import TrainSettings
from fairmot.training.step_clock import StepClock

_SAVE_SECONDS = 60.0
_LARGEST_GRADIENT = 10.0

_RENAMED = {"pictures": "images"}  # counts in checkpoints of earlier versions

Check = Callable[[nn.Module], dict[str, float]]


def repeat_to_the_bit() -> None:
    """Make equal steps on one GPU equal to the bit; call it before the first of them.

    All other operations of a step sum in a fixed order anyway, if Triton's kernels compute the deformable convolutions.
    `torch.use_deterministic_algorithms` is not used: it would replace the interpolation of images, which no gradient
    passes through, by many slow operations.
    """
    # One workspace for all products (manual of cuBLAS, "Results reproducibility"), as large as PyTorch's own.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Trials may choose another algorithm in each run. Without them, steps were measured no slower.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


class Average(nn.Module):
    """An exponential moving average of a network's weights; BatchNorm statistics are copied."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move toward `network`; faster in early steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        buffers = list(zip(self.network.buffers(), network.buffers(), strict=True))
        for kind in {buffer.dtype for buffer, _ in buffers}:  # those of one type are copied at once
            pairs = [pair for pair in buffers if pair[0].dtype == kind]
            torch._foreach_copy_([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the factor of a step: linear warm-up, then half a cosine down to one hundredth."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


class DivergedError(UserError):
    """The loss or the weights are no longer finite numbers."""


class _Model(nn.Module):
    """Network and loss as one module: both have weights, whose gradients are averaged over the processes."""

    def __init__(self, network: nn.Module, loss: FairMOTLoss) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, images: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            outputs = self.network(images)
        total, parts = self.loss(outputs, targets)
        return total, parts


@dataclass(eq=False)
class Trainer:
    """One training run.

    Batches depend on seed, rank and step alone and nothing else is random, so a run that is resumed from its
    checkpoint continues as if it had not stopped, and two equal runs are equal to the bit: on a CPU, and on a GPU after
    `repeat_to_the_bit` where Triton's kernels run, on the same kind of machine with the same software.
    Other kernels of deformable convolutions sum their gradients in any order. Several GPUs average gradients in an
    order that NCCL chooses by their number and links.
    """

    settings: TrainSettings
    augmenter: Augmenter
    network: nn.Module
    loss: FairMOTLoss
    output: Path
    processes: Processes
    step: int = 0

    def __post_init__(self) -> None:
        self.average = Average(self.network, self.settings.ema)
        self.model = self.processes.wrap(_Model(self.network, self.loss))
        parameters = [*self.network.parameters(), *self.loss.parameters()]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(groups, lr=self.settings.learning_rate, fused=parameters[0].is_cuda)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda s: learning_rate(s, self.settings))
        self.sums: dict[str, Tensor] = {}  # of the parts of the loss, since the epoch began
        self.batch = self.processes.share(self.settings.batch)
        # Counts over all processes, to detect other data when the run is resumed.
        store = self.augmenter.store
        drawn = (store.weights > 0).sum().float()
        images = round(float(self.processes.mean(drawn)) * self.processes.count)
        self.data = {"images": images, "identities": store.identity_count}

    def _recipe(self) -> dict[str, Any]:
        """Return the settings that must not change when a run is resumed."""
        settings = asdict(self.settings) | {"processes": self.processes.count}
        del settings["workers"]
        return settings

    def save(self) -> None:
        """Write `last.pth` (to resume) and `average.pth` (to export; the network's state dict), whole or not at all.

        Raises:
            DivergedError: if a weight is not finite.
            OutputError: if they cannot be written; those of an earlier step stay.
        """
        trained = [*self.model.state_dict().values(), *self.average.network.state_dict().values()]
        self._require_finite([*trained, *self.sums.values()])
        state = {
            "step": self.step,
            "recipe": self._recipe(),
            "data": self.data,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sums": self.sums,
        }
        weights = {"epoch": self.step, "class_names": self.settings.class_names}
        weights |= {"state_dict": self.average.network.state_dict()}
        files = {self.output / "last.pth": state, self.output / "average.pth": weights}
        with ExitStack() as stack:  # both are written before either takes its place
            for path, content in files.items():
                stack.enter_context(writing(path))
                draft = stack.enter_context(replacing(path, draft=path.with_name(f"{path.name}.part")))
                try:
                    torch.save(content, draft.name)
                except (OSError, RuntimeError) as error:  # of PyTorch's writer, without the reason
                    raise OutputError(f"{path} cannot be written; make room on the disk and resume.") from error

    def _require_finite(self, values: list[Tensor]) -> None:
        if not torch.stack([value.isfinite().all() for value in values]).all():
            raise DivergedError(
                f"Training diverged by step {self.step}, loss or weights are no finite numbers: lower "
                f"settings.learning_rate ({self.settings.learning_rate:g}) or lengthen settings.warmup "
                f"({self.settings.warmup}), and start again with another --output."
            )

    def resume(self, path: Path) -> None:
        """Continue a run from its `last.pth`.

        Raises:
            ConfigError: if the file is no such checkpoint, or the run had other settings or other data.
        """
        try:
            state = torch.load(path, map_location=self.processes.device, weights_only=True)
            recipe = Renames().content(state["recipe"])
            data = state.get("data", self.data)  # older ones do not hold it
        except UNREADABLE as error:
            raise ConfigError(f"Resume from the last.pth of a training run; {path} is none.") from error
        mine = self._recipe()
        for name, value in recipe.items():
            if value != mine.get(name):
                raise ConfigError(f"{path} was trained with {name} {value}; resume it with the same settings.")
        for name, count in ((_RENAMED.get(name, name), count) for name, count in data.items()):
            if count != self.data[name]:
                raise ConfigError(
                    f"{path} was trained with {count} {name}, now there are {self.data[name]}; resume it with the same "
                    "data, or start again with another --output."
                )
        try:
            self.network.load_state_dict(state["network"])
            self.average.network.load_state_dict(state["average"])
            self.loss.load_state_dict(state["loss"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.step, self.sums = state["step"], state["sums"]
        except UNREADABLE as error:
            raise ConfigError(f"{path} fits neither these data nor this network; resume it with the same.") from error

    def draw(self) -> tuple[Batch, Targets]:
        """Return the batch of the current step."""
        batch = self.augmenter.batch(self.batch, self.step)
        return batch, make_targets(batch, len(self.settings.classes))

    def learn(self, batch: Batch, targets: Targets) -> None:
        """Take one optimizer step."""
        total, parts = self.model(batch.images.to(memory_format=torch.channels_last), targets)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, _LARGEST_GRADIENT)
        self.optimizer.step()
        self.schedule.step()
        self.average.update(self.network, self.step)
        self.step += 1
        for name, value in ({"total": total} | parts | {"norm": norm}).items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value.detach()

    def run(self, check: Check, epoch: int) -> int:
        """Train to the last step, or until Ctrl-C or SIGTERM; a checkpoint is saved in either case.

        Several processes agree after every step, so that all of them end after the same one if any got a signal.
        (`torchrun` passes it to all and kills those still there after 30 s. One that raises an error leaves the others
        to `torchrun`.) A second signal kills at once.

        Args:
            check: validates the averaged network, in the first process.
            epoch: steps of an epoch, after each of which a line is logged.

        Returns:
            The number of the signal received, or 0.

        Raises:
            DivergedError: if the loss or a weight is not finite; checked at the end of an epoch and before a
                checkpoint is written, so that the previous one stays.
            OutputError: if the log or a checkpoint cannot be written.
        """
        log = EpochLog(self.output / "log.jsonl", self.step) if self.processes.is_first else None
        clock = StepClock(self.processes.device)
        saved = time.perf_counter()
        received = 0
        with StopSignals() as signals:
            while self.step < self.settings.steps and not received:
                clock.start()
                batch, targets = self.draw()
                clock.drawn()
                self.learn(batch, targets)
                received = self.processes.largest(signals.received or 0)
                last = self.step == self.settings.steps
                if self.step % epoch == 0 or last:
                    entry = self._entry(epoch, clock)
                    if log is not None:
                        log.write(entry | check(self.average.network))
                if log is not None and (time.perf_counter() - saved > _SAVE_SECONDS or last or received):
                    self.save()
                    saved = time.perf_counter()
        return received

    def _entry(self, epoch: int, clock: StepClock) -> dict[str, float]:
        """Return the epoch's log entry, without the validation, and begin the next epoch."""
        steps = (self.step - 1) % epoch + 1
        means = self.processes.mean(torch.stack(list(self.sums.values())) / steps).cpu()
        self._require_finite([means])
        speed = clock.read(self.settings.batch)
        entry: dict[str, float] = {
            "epoch": math.ceil(self.step / epoch),
            "step": self.step,
            "lr": float(self.schedule.get_last_lr()[0]),
        }
        entry |= dict(zip(self.sums, means.tolist(), strict=True))
        self.sums = {}
        return entry | asdict(speed)
