"""Outputs of commands: refused before any work if they cannot be written, and written whole."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

from fairmot.cli.main import main
from fairmot.core.errors import OutputError
from fairmot.core.files import check_writable

BOX = "1,1,10,20,30,40,1\n"
NOT_A_BOX = "1,1,10\n"


def associate(folder: Path, output: Path, is_sound: bool) -> list[object]:
    text = folder / "detections.txt"
    text.write_text(BOX if is_sound else NOT_A_BOX)
    return ["associate", text, "-o", output]


def evaluate(folder: Path, output: Path, is_sound: bool) -> list[object]:
    (folder / "truth.txt").write_text(BOX)
    (folder / "results.txt").write_text(BOX if is_sound else NOT_A_BOX)
    return ["evaluate", folder / "truth.txt", folder / "results.txt", "--json", output]


def export(folder: Path, output: Path, is_sound: bool) -> list[object]:
    torch = pytest.importorskip("torch")
    from fairmot.export.networks import HeadSizes, build_network

    checkpoint = folder / "model.pth"
    checkpoint.write_bytes(b"")
    if is_sound:
        torch.manual_seed(1)
        network = build_network("res_18", HeadSizes(classes=1, embedding=4, hidden=8)).eval()
        torch.save(network.state_dict(), checkpoint)
    return ["export", checkpoint, "-o", output, "--size", "64x64"]


Command = Callable[[Path, Path, bool], list[object]]
COMMANDS = pytest.mark.parametrize("command", [associate, evaluate, export])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size`, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Drop root's privileges."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def call(arguments: list[object]) -> int:
    return main([str(argument) for argument in arguments])


@COMMANDS
@pytest.mark.parametrize("name", ["a.out", "new/folder/a.out"])
def test_folders_above_an_output_are_created(tmp_path: Path, command: Command, name: str) -> None:
    output = tmp_path / "out" / name
    assert call(command(tmp_path, output, True)) == 0
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [output]


@COMMANDS
@pytest.mark.parametrize("name", ["file/a.out", "folder.out", "/proc/new/a.out"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Command, name: str
) -> None:
    """So the broken input is not looked at."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder.out" / "detections.txt").mkdir(parents=True)  # the file that `associate` writes in a folder
    output = tmp_path / name
    assert call(command(tmp_path, output, False)) == 1
    assert re.fullmatch(rf"error: .*{re.escape(str(output))}.*\n", capsys.readouterr().err)
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("folder", ["/proc", "/sys", "closed"])
def test_a_folder_without_the_right_to_write(tmp_path: Path, folder: str) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    path = tmp_path / folder / "a.out"
    with as_nobody(), pytest.raises(OutputError, match=re.escape(str(path))):
        check_writable(path)


def test_devices_are_outputs_for_every_user() -> None:
    with as_nobody():
        check_writable(Path("/dev/null"))


def test_an_export_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from fairmot.export.onnx_model import save

    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    model = onnx.ModelProto()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(100_000, np.float32), "weights"))
    with largest_file(50_000), pytest.raises(OutputError, match=re.escape(str(path))):
        save(model, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", [associate, evaluate])
def test_a_command_that_cannot_finish_its_output_leaves_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Command
) -> None:
    output = tmp_path / "out" / "a.out"
    output.parent.mkdir()
    output.write_text("old")
    arguments = command(tmp_path, output, True)
    with largest_file(10):
        assert call(arguments) == 1
    assert re.fullmatch(rf"error: .*{re.escape(str(output))}.*\n", capsys.readouterr().err)
    assert output.read_text() == "old"
    assert list(output.parent.iterdir()) == [output]
