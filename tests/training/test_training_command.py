"""User errors of the training commands: an exit code and one line, never a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.commands import options_of
from support.commands import reproduce as reproduce_main
from support.commands import train as main
from trainee import make_trainer, write_folder

from fairmot.core.errors import ConfigError, OutputError
from fairmot.training.progress import EpochLog, read_log
from fairmot.training.reproduction import steps_done
from fairmot.training.settings import DEFAULT_OUTPUT
from fairmot.training.trainer import DivergedError

ROOT = Path(__file__).resolve().parents[2]


def check_sentence(text, wanted):
    """One line of standard error, the last, says what is wrong."""
    assert "Traceback" not in text
    *_, line = text.splitlines()
    assert line.startswith("error: ")
    assert wanted in line


@pytest.fixture
def command(tmp_path):
    """Arguments of a run of two steps."""
    write_folder(tmp_path / "data", 4)
    (tmp_path / "mine.yaml").write_text(
        "settings:\n  architecture: res_18\n  size: [64, 64]\n  steps: 2\n  batch: 2\n  warmup: 1\n  side: 128\n"
        "  workers: 1\n  sets: {mine: 1.0}\n"
    )
    files = ["--config", str(tmp_path / "mine.yaml"), "--data", str(tmp_path / "data")]
    return [*files, "--output", str(tmp_path / "run")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, "cannot be read (No such file or directory); check the path."),
        ("settings: [a\n", "is not YAML (line 2); compare it with configs/train_lite.yaml."),
        ("", "holds no `key: value` lines"),
        ("settings: 3\n", 'settings must be a group of keys with values, not "3".'),
        ("settings: {steps: many}\n", 'settings.steps must be a whole number, not "many".'),
        ("settings: {stepz: 3}\n", 'the key "settings.stepz" is unknown. Did you mean "settings.steps"?'),
        ("settings: {sets: 3}\n", "settings.sets must be values by name, as in {name: 0.5}, not"),
        ("settings: {augment: {photometric: {jpg: 1}}}\n", 'Did you mean "settings.augment.photometric.jpeg"?'),
        ("settings: {steps: 0}\n", "settings.steps must be at least 1, not 0."),
    ],
)
def test_faulty_files(tmp_path, capfd, text, wanted):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["--data", "d", "--config", str(path)]) == 2
    check_sentence(capfd.readouterr().err, wanted)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "Name the folder of your images: --data DIR"),
        (["--settings.size", "64,64"], 'settings.size must be 2 values in brackets, as in [64, 64], not "64,64".'),
        (["--settings.size", "[100, 60]"], "settings.size must be width and height, multiples of 32"),
        (["--settings.augment.photometric.jpeg", "2"], "settings.augment.photometric.jpeg must be between 0 and 1"),
        (["--settings.architecture", "dla34"], 'Did you mean "dla_34"?'),
        (["--settings.held-out", "a"], "settings.held_out must be values in brackets, as in [name, name]"),
        (["--jpge", "1"], 'The option "jpge" is unknown. Did you mean "settings.augment.photometric.jpeg"?'),
        (["--settings", "x"], 'settings must be a group of keys with values, not "x".'),
        (["--settings.steps"], "expected one argument; see fairmot train --help."),
    ],
)
def test_faulty_options(capfd, arguments, wanted):
    assert main(arguments) == 2
    check_sentence(capfd.readouterr().err, wanted)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "Name the folder with train/*.tar"),
        (["--data", "d"], "Name the folder with train/*.tar"),
        (["--daat", "d"], 'The option "daat" is unknown. Did you mean "data"?'),
    ],
)
def test_faulty_options_of_reproduce(capfd, arguments, wanted):
    assert reproduce_main(arguments) == 2
    check_sentence(capfd.readouterr().err, wanted)


def test_output_has_a_default():
    options = options_of("train", ["--data", "d", "--config", str(ROOT / "configs" / "train_lite.yaml")])
    assert options.output == DEFAULT_OUTPUT
    assert options.settings.steps == 4500


def test_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert "--settings.augment.photometric.jpeg " in text
    assert "a name of" in text  # from the docstring


@pytest.mark.parametrize("inside", ["", "sub"])
def test_output_is_a_file(command, tmp_path, capfd, inside):
    (tmp_path / "file").write_text("text")
    assert main([*command, "--output", str(tmp_path / "file" / inside)]) == 1
    check_sentence(capfd.readouterr().err, "cannot be written")


def test_a_finished_run_is_left_alone(command, tmp_path, capfd, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("fairmot.training.command._report", lambda trainer: None)  # takes time
        assert main(command) == 0
    before = {path: path.read_bytes() for path in run.iterdir()}
    resume = ["--resume", str(run / "last.pth")]
    assert main(command) == 2
    check_sentence(capfd.readouterr().err, f"holds a training run: give --resume {run / 'last.pth'}")
    assert main([*command, *resume, "--settings.steps", "3"]) == 2
    check_sentence(capfd.readouterr().err, "was trained with steps 2")
    assert main([*command, *resume, "--data", str(tmp_path / "dada")]) == 1
    check_sentence(capfd.readouterr().err, "There are no images in")
    (tmp_path / "data" / "mine" / "images" / "camera0_frame_0.jpg").unlink()
    assert main([*command, *resume]) == 2
    check_sentence(capfd.readouterr().err, "was trained with 4 images, now there are 3")
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    write_folder(tmp_path / "again", 4)
    elsewhere = ["--output", str(tmp_path / "elsewhere"), "--data", str(tmp_path / "again")]
    assert main([*command, *resume, *elsewhere]) == 0  # nothing is left to train
    assert json.loads((tmp_path / "elsewhere" / "settings.json").read_text())["steps"] == 2


def test_divergence_keeps_the_last_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, 4, learning_rate=1e9)
    trainer.save()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        DivergedError, match=r"diverged by step [1-4],.* lower settings.learning_rate \(1e\+09\)"
    ) as error:
        trainer.run(lambda network: {}, epoch=2)
    assert error.value.exit_code == 1
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    log = after.pop("log.jsonl")
    assert after == before
    assert b"NaN" not in log


@pytest.mark.parametrize("part", ["network", "average", "loss", "sums"])
def test_no_checkpoint_with_nan(tmp_path, part):
    trainer = make_trainer(tmp_path, 4)
    trainer.learn(*trainer.draw())
    values = trainer.sums.values() if part == "sums" else getattr(trainer, part).parameters()
    with torch.no_grad():
        next(iter(values)).fill_(float("nan"))
    with pytest.raises(DivergedError):
        trainer.save()
    assert not list(tmp_path.iterdir())


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from trainee import make_trainer
from fairmot.core.errors import OutputError

trainer = make_trainer(Path(sys.argv[1]), 4)
trainer.save()
trainer.learn(*trainer.draw())
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    trainer.save()
except OutputError as error:
    print(error)
"""


def script(path, text):
    """Return a Python command for a script that may import what tests do."""
    path.write_text(text)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "training")))
    return [sys.executable, str(path)], os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path):
    line, environment = script(tmp_path / "full.py", _FULL_DISK)
    done = subprocess.run([*line, str(tmp_path / "run")], env=environment, capture_output=True, text=True)
    assert "last.pth cannot be written" in done.stdout, done.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["average.pth", "last.pth"]
    assert torch.load(tmp_path / "run" / "last.pth", weights_only=True)["step"] == 0
    assert steps_done(tmp_path / "run") == 0


def test_checkpoints_that_do_not_fit(tmp_path):
    trainer = make_trainer(tmp_path, 4)
    trainer.save()
    state = torch.load(tmp_path / "last.pth", weights_only=True)
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match="Resume from the last"):
        trainer.resume(tmp_path / "empty.pth")
    torch.save(state | {"data": {"pictures": 6, "identities": 99}}, tmp_path / "data.pth")
    with pytest.raises(ConfigError, match="was trained with 99 identities, now there are 8"):
        trainer.resume(tmp_path / "data.pth")
    del state["data"]  # as in older ones
    torch.save(state, tmp_path / "older.pth")
    trainer.resume(tmp_path / "older.pth")
    state["loss"]["classifier.bias"] = torch.zeros(99)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="fits neither these data nor this network"):
        trainer.resume(tmp_path / "other.pth")


def test_half_a_line_in_the_log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_log(path) == [{"step": 1}, {"step": 2}]
    EpochLog(path, 2).write({"step": 3})
    assert [line["step"] for line in read_log(path)] == [1, 2, 3]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        EpochLog(tmp_path / "folder", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_checkpoint(tmp_path, number):
    trainer = make_trainer(tmp_path, 10)
    learn = trainer.learn

    def learn_and_signal(batch, targets):
        learn(batch, targets)
        if trainer.step == 3:
            os.kill(os.getpid(), number)

    trainer.learn = learn_and_signal
    before = signal.getsignal(number)
    assert trainer.run(lambda network: {}, epoch=2) == number
    assert signal.getsignal(number) == before
    assert torch.load(tmp_path / "last.pth", weights_only=True)["step"] == 3
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [2]
    again = make_trainer(tmp_path, 10)
    again.resume(tmp_path / "last.pth")
    assert again.run(lambda network: {}, epoch=2) == 0
    straight = make_trainer(tmp_path / "straight", 10)
    straight.run(lambda network: {}, epoch=2)
    weights = [torch.load(folder / "average.pth")["state_dict"] for folder in (tmp_path, tmp_path / "straight")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def workers_of(process):
    """Return the running processes of a process' session."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == process.pid and state != "Z":
            pids.append(int(path.parent.name))
    return pids


def start(arguments):
    """Start the command in a session of its own."""
    line = [sys.executable, "-m", "fairmot", "train", *arguments]
    return subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition):
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_loading_with_the_workers(command, number):
    process = start([*command, "--settings.sets", "{scene: 1.0}", "--settings.scenes", "2000"])
    wait_for(lambda: len(workers_of(process)) > 2)  # and the resource tracker
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    wait_for(lambda: not workers_of(process))
    if number != signal.SIGKILL:
        assert err == ""
        assert process.returncode == 128 + number


def test_a_signal_ends_the_command(command, tmp_path):
    process = start([*command, "--settings.steps", "100000"])
    wait_for((tmp_path / "run" / "log.jsonl").exists)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"; go on with --resume {tmp_path / 'run' / 'last.pth'}." in err.splitlines()[-1]
    assert steps_done(tmp_path / "run") > 0


# The second of two processes gets the signal.
_TWO = """
import os, signal, sys
from pathlib import Path
from trainee import make_trainer
from fairmot.training.distributed import joined_processes

with joined_processes() as processes:
    trainer = make_trainer(Path(sys.argv[1]), 1000, processes)
    learn = trainer.learn
    def learn_and_signal(batch, targets):
        learn(batch, targets)
        if trainer.step == 3 and processes.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
    trainer.learn = learn_and_signal
    assert trainer.run(lambda network: {}, epoch=1000) == signal.SIGTERM
    assert trainer.step == 3
"""


def test_a_signal_ends_all_processes(tmp_path):
    (_, path), environment = script(tmp_path / "two.py", _TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", path]
    done = subprocess.run(
        [*command, str(tmp_path / "run")], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert torch.load(tmp_path / "run" / "last.pth", weights_only=True)["step"] == 3


# Counts the signals it gets in half a second from the first.
_CHILD = """
import signal, sys, time
def count(number, frame):
    with open(sys.argv[1], "a") as marks:
        marks.write("x")
signal.signal(signal.SIGINT, count)
print("ready", flush=True)
signal.pause()
time.sleep(0.5)
"""


def test_reproduce_passes_signals_on(tmp_path):
    """A command that it runs gets Ctrl-C once, although a terminal sends it to all, and ends in its own way."""
    (tmp_path / "child.py").write_text(_CHILD)
    arguments = f"{str(tmp_path / 'child.py')!r}, {str(tmp_path / 'marks')!r}"
    text = f"from fairmot.training.reproduction import _run\n_run({arguments})"
    line, environment = script(tmp_path / "parent.py", text)
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)  # until the parent waits
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 130
    assert (tmp_path / "marks").read_text() == "x"


@pytest.mark.parametrize("module", ["train", "reproduce"])
def test_without_pytorch(tmp_path, module):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    done = subprocess.run(
        [sys.executable, "-m", "fairmot", module, "--data", "d", "--output", str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    check_sentence(done.stderr, "No module named 'torch'; `pip install -e '.[train]'` installs what is needed")
