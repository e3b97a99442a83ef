"""Unpacking the data of the bundled weights."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from fairmot.core.errors import SourceError
from fairmot.training.reproduction import steps_done, unpack


def write_tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_unpack_writes_what_is_missing(tmp_path):
    write_tar(tmp_path / "a.tar", {"street/images/1.jpg": b"one", "street/images/2.jpg": b"two"})
    write_tar(tmp_path / "b.tar", {"field/images/1.jpg": b"three"})
    folder = tmp_path / "data"
    assert unpack(tmp_path, folder) == 3
    assert (folder / "field" / "images" / "1.jpg").read_bytes() == b"three"
    assert unpack(tmp_path, folder) == 0
    (folder / "street" / "images" / "2.jpg").write_bytes(b"t")  # cut short by an interruption
    assert unpack(tmp_path, folder) == 1
    assert (folder / "street" / "images" / "2.jpg").read_bytes() == b"two"


def test_unpack_stays_in_its_folder(tmp_path):
    write_tar(tmp_path / "a.tar", {"../outside.jpg": b"one"})
    with pytest.raises(SourceError, match="lies outside"):
        unpack(tmp_path, tmp_path / "data")
    assert not (tmp_path / "outside.jpg").exists()


def test_damaged_archives(tmp_path):
    with pytest.raises(SourceError, match="no tar files"):
        unpack(tmp_path, tmp_path / "data")
    (tmp_path / "a.tar").write_bytes(b"text" * 200)
    with pytest.raises(SourceError, match="damaged"):
        unpack(tmp_path, tmp_path / "data")


def test_steps_done(tmp_path):
    assert steps_done(tmp_path) == 0
    torch.save({"epoch": 7, "state_dict": {}}, tmp_path / "average.pth")
    assert steps_done(tmp_path) == 7


def test_command_without_data(tmp_path):
    command = [
        sys.executable,
        "-m",
        "fairmot",
        "reproduce",
        "--data",
        str(tmp_path),
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True)
    assert done.returncode == 1
    assert "There are no tar files" in done.stderr
