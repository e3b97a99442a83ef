"""Train a network on folders of labelled pictures: `python -m training.train --data DIR --output DIR`."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from jsonargparse import ArgumentParser
from torch import nn

from core.errors import ConfigError, UserError
from export.networks import build_network
from training.augment import Augmenter, AugmentSettings
from training.compose import crowd_samples
from training.losses import FairMOTLoss, make_targets
from training.samples import Sample, crop_sheets, folder_samples, rendered_samples, worker_pool
from training.store import Store
from training.validate import validate

log = logging.getLogger(__name__)

# Sets that are made here; every other name of `TrainSettings.sets` is a folder.
_MADE = ("crowd", "scene", "market1501")


@dataclass(frozen=True)
class TrainSettings:
    """What to train and for how long.

    Attributes:
        architecture: a name of `export.networks.ARCHITECTURES`.
        size: width and height of the training pictures in pixels.
        sets: share of the drawn tiles by set. A set is a folder of the data with `images` and `labels_with_ids`, or
            `crowd` (composed from cut-outs), `scene` (rendered), `market1501` (sheets of identity crops).
        held_out: scenes (`set/scene`, see `Sample.scene`) that are validated on and not trained on.
        steps: optimiser steps.
        batch: pictures a step.
        learning_rate: peak of the cosine schedule (AdamW).
        weight_decay: of all weights with more than one dimension.
        warmup: steps of linear warm-up.
        ema: decay of the averaged weights.
        crowds: pictures composed from cut-outs.
        scenes: rendered scenes, twelve frames each.
        sheets: sheets of identity crops.
        side: longest side of the stored pictures in pixels.
        workers: processes that decode and compose.
        seed: of everything random.
        augment: ranges of the augmentation.
    """

    architecture: str = "dla_34_lite"
    size: tuple[int, int] = (576, 320)
    sets: dict[str, float] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    steps: int = 6000
    batch: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warmup: int = 400
    ema: float = 0.9995
    crowds: int = 3000
    scenes: int = 80
    sheets: int = 150
    side: int = 800
    workers: int = os.cpu_count() or 1
    seed: int = 1
    augment: AugmentSettings = field(default_factory=AugmentSettings)


def load_samples(root: Path, settings: TrainSettings) -> Iterator[Sample]:
    """Yield every training picture of `settings.sets`: folders, rendered scenes, crop sheets, composed crowds.

    Crowds stand before the pictures of the set `background`, if there is one, else before those without people.

    Raises:
        ConfigError: if no set is named, or crowds have no pictures to stand before.
        SourceError: if the pictures of a set are missing.
    """
    if not settings.sets:
        raise ConfigError("Name what to train on: --settings.sets '{\"my_folder\": 1.0}'; see configs/train_lite.yaml.")
    backgrounds = []
    with worker_pool(settings.workers, cv2.setNumThreads, 1) as pool:
        for group in settings.sets:
            if group in _MADE:
                continue
            for sample in folder_samples(root, group, settings.side, pool):
                if group == "background" or ("background" not in settings.sets and not len(sample.kinds)):
                    backgrounds.append(sample.image)
                yield sample
        if "scene" in settings.sets:
            yield from rendered_samples(settings.scenes, 12, backgrounds, settings.seed, pool)
    if "market1501" in settings.sets:
        yield from crop_sheets(root, settings.sheets, settings.seed)
    if "crowd" in settings.sets:
        if not backgrounds:
            raise ConfigError("Crowds need pictures without people to stand before: add a set named background.")
        yield from crowd_samples(root, settings.crowds, backgrounds, settings.seed, settings.workers)


class Average(nn.Module):
    """An exponential moving average of a network's weights; BatchNorm statistics are copied."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards `network`; early steps move faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[torch.Tensor] = list(self.network.parameters())
        theirs: list[torch.Tensor] = list(network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for buffer, value in zip(self.network.buffers(), network.buffers(), strict=True):
            buffer.copy_(value)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the factor of a step: linear warm-up, then half a cosine down to one hundredth."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(eq=False)
class Trainer:
    """One training run with everything that a checkpoint holds."""

    settings: TrainSettings
    augmenter: Augmenter
    network: nn.Module
    loss: FairMOTLoss
    output: Path
    step: int = 0

    def __post_init__(self) -> None:
        self.average = Average(self.network, self.settings.ema)
        parameters = [*self.network.named_parameters(), *self.loss.named_parameters()]
        groups = [
            {"params": [p for _, p in parameters if p.ndim > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for _, p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.settings.learning_rate, fused=torch.cuda.is_available())
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda s: learning_rate(s, self.settings))

    def save(self) -> None:
        """Write `last.pth` (to resume) and `average.pth` (`{epoch, state_dict}`, to export), whole or not at all."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        weights = {"epoch": self.step, "state_dict": self.average.network.state_dict()}
        for name, content in (("last.pth", state), ("average.pth", weights)):
            torch.save(content, self.output / f"{name}.part")
            (self.output / f"{name}.part").replace(self.output / name)

    def resume(self, path: Path) -> None:
        """Continue a run from its `last.pth`."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def advance(self) -> dict[str, torch.Tensor]:
        """Take one optimiser step and return the parts of the loss."""
        batch = self.augmenter.batch(self.settings.batch, self.step)
        targets = make_targets(batch)
        images = batch.images.to(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16):
            outputs = self.network(images)
        total, parts = self.loss(outputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_([*self.network.parameters(), *self.loss.parameters()], 10.0)
        self.optimizer.step()
        self.schedule.step()
        self.average.update(self.network, self.step)
        self.step += 1
        return {"total": total, **parts, "norm": norm}

    def run(self, check: Callable[[nn.Module], dict[str, float]], log_every: int = 100) -> None:
        """Train to the last step; log, validate and save on the way."""
        sums: dict[str, torch.Tensor] = {}
        count = 0
        since, saved = time.perf_counter(), time.perf_counter()
        with (self.output / "log.jsonl").open("a") as lines:
            while self.step < self.settings.steps:
                for name, value in self.advance().items():
                    sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
                count += 1
                last = self.step == self.settings.steps
                if self.step % log_every == 0 or last:
                    entry: dict[str, Any] = {"step": self.step, "lr": self.schedule.get_last_lr()[0]}
                    entry |= {name: round(float(value) / count, 4) for name, value in sums.items()}
                    elapsed = time.perf_counter() - since
                    entry["images_per_second"] = round(count * self.settings.batch / elapsed, 1)
                    if self.step % (10 * log_every) == 0 or last:
                        entry |= {name: round(value, 4) for name, value in check(self.average.network).items()}
                    print(json.dumps(entry), flush=True)
                    lines.write(json.dumps(entry) + "\n")
                    lines.flush()
                    sums, count, since = {}, 0, time.perf_counter()
                if time.perf_counter() - saved > 60 or last:
                    self.save()
                    saved = time.perf_counter()


def train(data: Path, output: Path, settings: TrainSettings, resume: Path | None = None) -> None:
    """Train on every set below `data` and leave the weights in `output`.

    Args:
        data: folder of the unpacked sets.
        output: folder for checkpoints and the log; made if missing.
        settings: what to train.
        resume: a `last.pth` to continue.

    Raises:
        UserError: if pictures are missing.
    """
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = time.perf_counter()
    samples = list(load_samples(data, settings))
    held_out = [i for i, sample in enumerate(samples) if sample.scene in settings.held_out]
    for i in held_out:
        samples[i].group = "held_out"
    store = Store(samples, settings.sets, settings.side)
    del samples
    store.to(device)
    log.info(
        "%d pictures, %d held out, %d identities, loaded in %.0f s",
        len(store),
        len(held_out),
        store.identity_count,
        time.perf_counter() - start,
    )
    augmenter = Augmenter(store, settings.size, settings.augment, settings.seed)
    network = build_network(settings.architecture).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = FairMOTLoss(network.head_sizes.embedding, store.spaces).to(device)
    trainer = Trainer(settings, augmenter, network, loss, output)
    if resume is not None:
        trainer.resume(resume)
    (output / "settings.json").write_text(json.dumps(asdict(settings), indent=2))
    indices = torch.tensor(held_out, device=device)
    trainer.run(lambda average: validate(average, augmenter, indices) if held_out else {})


def main() -> int:
    """Run the command and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(train)
    options = parser.instantiate(parser.parse_args())
    options.pop("config")
    try:
        train(**vars(options))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
