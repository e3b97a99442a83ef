"""Train a network on folders of labelled pictures: `python -m training.train --data DIR --output DIR`.

On several GPUs: `torchrun --nproc-per-node 2 -m training.train --data DIR --output DIR`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from jsonargparse import ArgumentParser

from core.errors import ConfigError, UserError
from export.networks import build_network
from training.augment import Augmenter
from training.distributed import Processes, joined_processes
from training.loading import HELD_OUT, load_samples
from training.losses import FairMOTLoss
from training.measure import constant_batch_speed, costliest_operations
from training.progress import plot, read_log
from training.settings import TrainSettings
from training.store import Store, identities_of
from training.trainer import Trainer, repeat_to_the_bit
from training.validate import validate

log = logging.getLogger(__name__)


def train(data: Path, output: Path, settings: TrainSettings, resume: Path | None = None) -> None:
    """Train on every set below `data` and leave the weights in `output`.

    Args:
        data: folder of the unpacked sets.
        output: folder for checkpoints, the log and its plot, and what limits the speed; made if missing.
        settings: what to train.
        resume: a `last.pth` to continue.

    Raises:
        UserError: if a setting is at fault or pictures are missing.
    """
    if resume is not None and not resume.is_file():
        raise ConfigError(f"There is no {resume} to resume from.")
    with joined_processes() as processes:
        if processes.is_first:
            output.mkdir(parents=True, exist_ok=True)
            (output / "settings.json").write_text(json.dumps(asdict(settings), indent=2))
        _train(data, output, settings, resume, processes)


def _train(data: Path, output: Path, settings: TrainSettings, resume: Path | None, processes: Processes) -> None:
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
        raise ConfigError("No picture is left to train on: give a set with pictures a share above 0, or hold out less.")
    pictures = round(float(processes.mean(torch.tensor([drawn], device=processes.device))) * processes.count)
    log.info(
        "Process %d of %d: %d of %d pictures, %d held out, %d identities, loaded in %.0f s",
        processes.rank + 1,
        processes.count,
        drawn,
        pictures,
        len(held_out),
        store.identity_count,
        time.perf_counter() - start,
    )
    augmenter = Augmenter(store, settings.size, settings.augment, settings.seed + 7919 * processes.rank)
    network = build_network(settings.architecture, classes=len(settings.classes)).to(processes.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = FairMOTLoss(network.head_sizes.embedding, store.spaces).to(processes.device)
    trainer = Trainer(settings, augmenter, network, loss, output, processes)
    if resume is not None:
        trainer.resume(resume)
    indices = torch.tensor(held_out, device=processes.device)
    epoch = max(1, round(pictures / settings.batch))
    trainer.run(lambda average: validate(average, augmenter, indices, settings.class_names) if held_out else {}, epoch)
    _report(trainer)


def _report(trainer: Trainer) -> None:
    """Plot the log and write what limits the speed; the trainer is spent afterwards."""
    limit = constant_batch_speed(trainer)
    operations = costliest_operations(trainer)
    if not trainer.processes.is_first:
        return
    last = read_log(trainer.output / "log.jsonl")[-1]
    speed = {name: last[name] for name in ("images_per_second", "data_share")}
    speed |= {"constant_batch_images_per_second": limit, "processes": trainer.processes.count}
    (trainer.output / "throughput.json").write_text(json.dumps(speed, indent=2) + "\n")
    (trainer.output / "operations.txt").write_text(operations)
    log.info("%.0f images/s; %.0f with one batch kept in memory", speed["images_per_second"], limit)
    try:
        log.info("Curves of the run: %s", plot(trainer.output / "log.jsonl"))
    except ConfigError as error:  # no reason to fail after all this
        log.warning("%s", error)


def command_parser() -> ArgumentParser:
    """Return the parser of the command; its flags are the arguments of `train`."""
    parser = ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(train)
    return parser


def main() -> int:
    """Run the command and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = command_parser()
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
