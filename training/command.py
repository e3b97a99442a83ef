"""A whole training run, for the command `fairmot train`."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from fairmot.core.errors import ConfigError
from fairmot.export.networks import build_network
from fairmot.training.augment import Augmenter
from fairmot.training.distributed import Processes, joined_processes
from fairmot.training.initial_weights import initialize
from fairmot.training.loading import HELD_OUT, load_samples
from fairmot.training.losses import FairMOTLoss
from fairmot.training.measure import constant_batch_speed, costliest_operations
from fairmot.training.outputs import writing
from fairmot.training.progress import plot, read_log
from fairmot.training.settings import DEFAULT_OUTPUT, TrainSettings
from fairmot.training.store import Store, identities_of
from fairmot.training.trainer import Trainer, repeat_to_the_bit
from fairmot.training.validate import validate

log = logging.getLogger(__name__)


def train(
    data: Path,
    settings: TrainSettings,
    output: Path = DEFAULT_OUTPUT,
    resume: Path | None = None,
    init: Path | None = None,
) -> int:
    """Train on every set below `data` and leave the weights in `output`.

    Args:
        data: folder of the unpacked sets.
        settings: of the run.
        output: folder for checkpoints, the log and its plot, and the profile; created if missing.
        resume: a `last.pth` to continue.
        init: a checkpoint or exported model to start from, see `fairmot.training.initial_weights`.

    Returns:
        128 and the number of the signal that ended the run, or 0.

    Raises:
        UserError: if a setting is invalid, images are missing, the output cannot be written or is that of another
            run, or training diverges.
    """
    if resume is not None and not resume.is_file():
        raise ConfigError(f"There is no {resume} to resume from.")
    with joined_processes() as processes:
        processes.share(settings.batch)
        if processes.is_first:
            with writing(output):
                output.mkdir(parents=True, exist_ok=True)
            if resume is None and any((output / name).exists() for name in ("last.pth", "average.pth")):
                last = output / "last.pth"
                raise ConfigError(f"{output} holds a training run: give --resume {last} or choose another --output.")
        return _train(data, output, settings, resume, init, processes)


def _train(
    data: Path, output: Path, settings: TrainSettings, resume: Path | None, init: Path | None, processes: Processes
) -> int:
    torch.manual_seed(settings.seed)
    repeat_to_the_bit()
    start = time.perf_counter()
    samples = load_samples(data, settings, processes.rank, processes.count)
    held_out = [i for i, sample in enumerate(samples) if sample.group == HELD_OUT]
    known = processes.union(identities_of(samples))
    store = Store(samples, settings.sets, settings.side, known).to(processes.device)
    del samples
    drawn = float((store.weights > 0).sum())
    if not drawn:
        raise ConfigError("No image is left to train on: give a set with images a share above 0, or hold out less.")
    loaded = time.perf_counter() - start
    augmenter = Augmenter(store, settings.size, settings.augment, settings.seed + 7919 * processes.rank)
    network = build_network(settings.architecture, classes=len(settings.classes)).to(processes.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if init is not None and resume is None:
        initialize(network, init, augmenter.batch(settings.batch, 0).images)
    loss = FairMOTLoss(network.head_sizes.embedding, store.spaces).to(processes.device)
    trainer = Trainer(settings, augmenter, network, loss, output, processes)
    log.info(
        "Process %d of %d: %d of %d images, %d held out, %d identities, loaded in %.0f s",
        processes.rank + 1,
        processes.count,
        drawn,
        trainer.data["images"],
        len(held_out),
        store.identity_count,
        loaded,
    )
    if resume is not None:
        trainer.resume(resume)
    if processes.is_first:
        path = output / "settings.json"
        with writing(path):
            path.write_text(json.dumps(asdict(settings), indent=2))
    indices = torch.tensor(held_out, device=processes.device)
    epoch = max(1, round(trainer.data["images"] / settings.batch))
    received = trainer.run(
        lambda average: validate(average, augmenter, indices, settings.class_names) if held_out else {}, epoch
    )
    if not received:
        _report(trainer)
        return 0
    if processes.is_first:
        last = output / "last.pth"
        print(f"Stopped after step {trainer.step} of {settings.steps}; go on with --resume {last}.", file=sys.stderr)
    return 128 + received


def _report(trainer: Trainer) -> None:
    """Plot the log and write the profile; the trainer cannot be used afterwards."""
    limit = constant_batch_speed(trainer)
    operations = costliest_operations(trainer)
    if not trainer.processes.is_first:
        return
    lines = read_log(trainer.output / "log.jsonl")
    if not lines:  # the run was complete before, in another folder
        return
    speed = {name: lines[-1][name] for name in ("images_per_second", "data_share")}
    speed |= {"constant_batch_images_per_second": limit, "processes": trainer.processes.count}
    log.info("%.0f images/s; %.0f with one batch kept in memory", speed["images_per_second"], limit)
    with writing(trainer.output):
        (trainer.output / "throughput.json").write_text(json.dumps(speed, indent=2) + "\n")
        (trainer.output / "operations.txt").write_text(operations)
    try:
        with writing(trainer.output):
            log.info("Curves of the run: %s", plot(trainer.output / "log.jsonl"))
    except ConfigError as error:  # no reason to fail after all this
        log.warning("%s", error)
