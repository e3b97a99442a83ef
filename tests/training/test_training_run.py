"""Whole runs: learning, resuming, the log, several processes, the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import export, options_of
from support.commands import train as main
from trainee import make_trainer, write_folder

from fairmot.core.errors import ConfigError, SourceError
from fairmot.engine.model import ModelInfo
from fairmot.training.loading import HELD_OUT, load_samples
from fairmot.training.measure import constant_batch_speed, costliest_operations
from fairmot.training.progress import plot, read_log
from fairmot.training.samples import scene_of
from fairmot.training.settings import TrainSettings
from fairmot.training.store import identities_of
from fairmot.training.validate import validate


def test_training_learns_to_detect(tmp_path):
    trainer = make_trainer(tmp_path / "run", 120)
    indices = torch.tensor([0, 6])
    trainer.run(lambda network: validate(network, trainer.augmenter, indices), epoch=40)
    lines = read_log(tmp_path / "run" / "log.jsonl")
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 40), (2, 80), (3, 120)]
    assert lines[-1]["heatmap"] < 0.5 * lines[0]["heatmap"]
    assert lines[-1]["ap"] > 0.5
    assert lines[-1]["identity"] < lines[0]["identity"]
    assert all(line["images_per_second"] > 0 and 0 < line["data_share"] < 1 for line in lines)
    average = torch.load(tmp_path / "run" / "average.pth", weights_only=True)
    assert set(average) == {"epoch", "class_names", "state_dict"}
    assert plot(tmp_path / "run" / "log.jsonl").read_bytes()[1:4] == b"PNG"


def equal(a, b):
    """Return whether two checkpoints are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def test_resumed_run_equals_uninterrupted_run(tmp_path, monkeypatch):
    """A run stops between two checkpoints, in the middle of an epoch; its continuation differs in no bit."""
    straight = make_trainer(tmp_path / "a", 10)
    straight.run(lambda network: {}, epoch=4)
    broken = make_trainer(tmp_path / "b", 10)
    monkeypatch.setattr("fairmot.training.trainer._SAVE_SECONDS", 0.0)
    learn = broken.learn

    def learn_until_killed(batch, targets):
        if broken.step == 6:  # saved after every step up to here
            monkeypatch.setattr("fairmot.training.trainer._SAVE_SECONDS", 1e9)
        if broken.step == 7:
            raise KeyboardInterrupt
        learn(batch, targets)

    broken.learn = learn_until_killed
    with pytest.raises(KeyboardInterrupt):
        broken.run(lambda network: {}, epoch=4)
    torch.manual_seed(99)
    resumed = make_trainer(tmp_path / "b", 10)
    resumed.resume(tmp_path / "b" / "last.pth")
    assert resumed.step == 6
    resumed.run(lambda network: {}, epoch=4)
    first, second = (torch.load(tmp_path / name / "last.pth", weights_only=True) for name in "ab")
    assert equal(first, second)
    logs = [read_log(tmp_path / name / "log.jsonl") for name in "ab"]
    for line in (*logs[0], *logs[1]):
        del line["images_per_second"], line["data_share"]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == [4, 8, 10]


def test_resume_drops_lines_after_the_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, 6)
    trainer.run(lambda network: {}, epoch=2)
    early = make_trainer(tmp_path / "early", 6)
    for _ in range(3):
        early.learn(*early.draw())
    early.save()
    again = make_trainer(tmp_path, 6)
    again.resume(tmp_path / "early" / "last.pth")
    again.run(lambda network: {}, epoch=2)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [2, 4, 6]


def test_resume_refuses_other_settings(tmp_path):
    make_trainer(tmp_path, 4).save()
    with pytest.raises(ConfigError, match="was trained with steps 4"):
        make_trainer(tmp_path, 5).resume(tmp_path / "last.pth")
    make_trainer(tmp_path, 4, workers=1).resume(tmp_path / "last.pth")


@pytest.mark.parametrize("lost", [0, 1])
def test_resume_from_a_checkpoint_of_an_earlier_version(tmp_path, lost):
    """It counted `pictures`."""
    make_trainer(tmp_path, 4).save()
    state = torch.load(tmp_path / "last.pth", weights_only=True)
    state["data"]["pictures"] = state["data"].pop("images") + lost
    torch.save(state, tmp_path / "old.pth")
    trainer = make_trainer(tmp_path, 4)
    if lost:
        with pytest.raises(ConfigError, match="was trained with 7 images, now there are 6"):
            trainer.resume(tmp_path / "old.pth")
    else:
        trainer.resume(tmp_path / "old.pth")


@pytest.mark.parametrize("content", [None, b"text", {"epoch": 3, "state_dict": {}}, [1.0]])
def test_resume_from_something_else(tmp_path, content):
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError, match="Resume from the last"):
        make_trainer(tmp_path / "run", 4).resume(path)


def test_what_limits_the_speed(tmp_path):
    trainer = make_trainer(tmp_path, 4)
    assert constant_batch_speed(trainer, 2) > 0
    assert "convolution" in costliest_operations(trainer, 1)


@pytest.fixture
def own_data(tmp_path):
    write_folder(tmp_path / "data", 6)
    return tmp_path / "data"


def test_own_folder(own_data):
    samples = load_samples(own_data, TrainSettings(sets={"mine": 1.0}, workers=1))
    assert len(samples) == 6
    assert {scene_of(sample.name) for sample in samples} == {"mine/camera0", "mine/camera1"}
    assert all(len(sample.tlbr) == 4 for sample in samples)


def test_workers_do_not_change_what_is_loaded(own_data):
    settings = [TrainSettings(sets={"mine": 0.5, "scene": 0.5}, scenes=2, workers=workers) for workers in (1, 3)]
    one, three = (load_samples(own_data, chosen) for chosen in settings)
    assert len(one) == len(three) == 6 + 2 * 12
    assert identities_of(one) == identities_of(three)
    for a, b in zip(one, three, strict=True):
        assert (a.space, a.group, a.name) == (b.space, b.group, b.name)
        for name in ("image", "tlbr", "kinds", "classes", "identities"):
            assert np.array_equal(getattr(a, name), getattr(b, name))


def test_processes_share_images(own_data):
    settings = TrainSettings(sets={"mine": 1.0}, workers=2, held_out=("mine/camera1",))
    shares = [load_samples(own_data, settings, rank, 2) for rank in range(2)]
    groups = [[(sample.group, sample.space) for sample in share] for share in shares]
    held_out = (HELD_OUT, f"mine/{HELD_OUT}")
    assert groups[0].count(held_out) == 3
    assert groups[1].count(held_out) == 0
    images = [sample.image.tobytes() for share in shares for sample in share]
    assert len(images) == len(set(images)) == 6


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sets": {}}, ConfigError, "Name what to train on"),
        ({"sets": {"none": 1.0}}, SourceError, "There are no images in"),
        ({"sets": {"mine": 0.5, "crowd": 0.5}}, ConfigError, "Crowds need images without people"),
        ({"held_out": ("mine/camera3",)}, ConfigError, 'Did you mean "mine/camera'),
    ],
)
def test_invalid_sets(own_data, changes, error, message):
    with pytest.raises(error, match=message):
        load_samples(own_data, TrainSettings(**({"sets": {"mine": 1.0}, "workers": 1} | changes)))


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "settings:\n  architecture: res_18\n  size: [64, 64]\n  steps: 2\n  batch: 2\n  warmup: 1\n  side: 128\n"
        "  workers: 1\n  sets: {mine: 1.0}\n  held_out: [mine/camera1]\n"
    )
    return path


def test_command(own_data, recipe, tmp_path):
    command = ["--config", str(recipe), "--data", str(own_data), "--output", str(tmp_path / "run")]
    assert main(command) == 0
    (line,) = read_log(tmp_path / "run" / "log.jsonl")[-1:]
    assert line["step"] == 2
    assert {"ap", "recall", "identity_auc"} <= set(line)
    speed = json.loads((tmp_path / "run" / "throughput.json").read_text())
    assert speed["constant_batch_images_per_second"] > 0
    assert (tmp_path / "run" / "log.png").exists()
    for invalid in (["--settings.sets", "{}"], ["--resume", str(tmp_path / "none.pth")]):
        assert main([*command, *invalid]) == 2


def test_two_classes_from_labels_to_the_model(own_data, recipe, tmp_path):
    for path in (own_data / "mine" / "labels_with_ids").iterdir():
        path.write_text(path.read_text().replace("0 3 ", "2 3 "))
    recipe.write_text(recipe.read_text() + "  classes: {bag: [2], person: [0]}\n")
    run = tmp_path / "run"
    command = ["--config", str(recipe), "--data", str(own_data), "--output", str(run)]
    assert main(command) == 0
    (line,) = read_log(run / "log.jsonl")[-1:]
    assert {"ap", "ap/person", "recall/bag"} <= set(line)
    model = tmp_path / "two.onnx"
    assert export([str(run / "average.pth"), "--size", "64x64", "-o", str(model)]) == 0
    assert ModelInfo.read(model).class_names == ("person", "bag")


def test_recipe_of_the_bundled_weights():
    recipe = Path(__file__).resolve().parents[2] / "configs" / "train_lite.yaml"
    flags = ["--data", "d", "--output", "o", "--settings.augment.photometric.jpeg", "0.5"]
    settings = options_of("train", ["--config", str(recipe), *flags]).settings
    assert sum(settings.sets.values()) == pytest.approx(1)
    assert settings.augment.photometric.motion == 0.12
    assert settings.augment.photometric.jpeg == 0.5


# Two processes through torchrun: they draw different batches, share gradients, end with the same weights.
_TWO = """
import sys, torch
from pathlib import Path
from trainee import make_trainer
from fairmot.training.distributed import joined_processes

with joined_processes() as processes:
    trainer = make_trainer(Path(sys.argv[1]), 3, processes)
    assert processes.count == 2 and trainer.batch == 2
    assert processes.union({processes.rank}) == {0, 1}
    batch, targets = trainer.draw()
    alone = make_trainer(Path(sys.argv[1]), 3)
    total, _ = alone.model(batch.images, targets)
    total.backward()
    mean = processes.mean(torch.cat([p.grad.flatten() for p in alone.parameters if p.grad is not None]))
    trainer.model(batch.images, targets)[0].backward()
    shared = torch.cat([p.grad.flatten() for p in trainer.parameters if p.grad is not None])
    assert torch.allclose(shared, mean, rtol=1e-4, atol=1e-6), (shared - mean).abs().max()
    trainer.run(lambda network: {"ap": 0.0}, epoch=3)
    torch.save([batch.images, trainer.average.network.state_dict()], f"{sys.argv[1]}/rank{processes.rank}.pth")
"""


def test_two_processes(tmp_path):
    root = Path(__file__).resolve().parents[2]
    script = tmp_path / "two.py"
    script.write_text(_TWO)
    paths = os.pathsep.join(map(str, (root, root / "tests", root / "tests" / "training")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (first_images, first), (second_images, second) = (torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2))
    assert not torch.equal(first_images, second_images)
    assert all(
        torch.equal(first[name], second[name]) for name, _ in make_trainer(tmp_path, 1).network.named_parameters()
    )
    (line,) = read_log(tmp_path / "log.jsonl")
    assert line["step"] == 3
    assert (tmp_path / "last.pth").exists()
