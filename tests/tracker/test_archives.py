"""`.npz` files that are damaged, lie about themselves or were made to fill the memory."""

from __future__ import annotations

import io
import random
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairmot.core.errors import UserError
from fairmot.tracker.detection_file import read_detection_file

GOOD: dict[str, Any] = {
    "frame": np.array([3, 1, 3]),
    "tlbr": np.float32([[0, 0, 10, 20], [5, 5, 25, 45], [30, 0, 40, 30]]),
    "score": np.float32([0.9, 0.8, 0.7]),
    "fps": np.array(25.0),
    "n_frames": np.array(4),
}


def header(shape: tuple[int, ...], descr: object = "<f4", version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(path: Path, *more: tuple[str, bytes], method: int = zipfile.ZIP_STORED, **changes: bytes | None) -> Path:
    """Write the good arrays, some of them replaced by other bytes or left out, and further members."""
    members = {name: npy(array) for name, array in GOOD.items()} | changes
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in [*((f"{name}.npy", data) for name, data in members.items() if data is not None), *more]:
            file.writestr(name, data)
    return path


@contextmanager
def little_memory(extra: int = 1 << 30) -> Iterator[None]:
    """Let this process have only so many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


LIES = {
    "1e12 numbers": header((10**12,)),
    "1e12 numbers, version 2": header((10**12,), version=(2, 0)),
    "1e30 numbers": header((10**15, 10**15)),
    "one number too many": header((4,)) + bytes(12),
    "one number too few": header((2,)) + bytes(12),
    "no numbers of 1e12 columns": header((0, 10**12)) + bytes(12),
    "a negative shape": header((-3,)) + bytes(12),
    "two negative lengths": header((-3, -1)) + bytes(12),
    "end of the header": header((3,)),
    "no magic": b"not an array",
    "an unknown version": b"\x93NUMPY\x09\x00" + header((3,))[8:],
    "nothing": b"",
    "half a header": header((3,))[:40],
    "no dictionary": b"\x93NUMPY\x01\x00\x06\x00[[[[[\n",
    "a long header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 4_000_000_000) + b"{" * 1000,
    "brackets": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
    "an unknown type": header((3,), "<q9") + bytes(12),
    "text": npy(np.array(["a", "b", "c"])),
    "dates": npy(np.array([1, 2, 3], "M8[s]")),
    "truth": npy(np.array([True, False, True])),
    "complex numbers": npy(np.ones(3, complex)),
    "records": npy(np.zeros(3, "f4,i4")),
    "bytes": npy(np.zeros(3, "V4")),
}


@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_arrays_that_lie(tmp_path: Path, data: bytes, method: int) -> None:
    path = archive(tmp_path / "a.npz", method=method, score=data)
    with little_memory(), pytest.raises(UserError) as caught:
        read_detection_file(path)
    assert str(path) in str(caught.value)
    assert "--save-detections" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return open, (f"{tmp_path}/ran",)

    file = io.BytesIO()
    np.save(file, np.array([Bomb()] * 3), allow_pickle=True)
    with pytest.raises(UserError, match="holds something else than numbers in score"):
        read_detection_file(archive(tmp_path / "a.npz", score=file.getvalue()))


def test_a_bomb_of_zeros(tmp_path: Path) -> None:
    """300 kB that unpack to 300 MB."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in GOOD.items():
            if name != "score":
                file.writestr(f"{name}.npy", npy(array))
        with file.open("score.npy", "w", force_zip64=True) as member:
            member.write(header((75_000_000,)))
            for _ in range(30):
                member.write(bytes(10_000_000))
    with little_memory(), pytest.raises(UserError, match=r"bytes and claims to unpack to 30000\d+"):
        read_detection_file(path)


def test_members_that_claim_more_than_the_file_has(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz")
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"score.npy") - 46  # in the directory at the end
    struct.pack_into("<II", data, entry + 20, 4_000_000_000, 4_000_000_000)
    path.write_bytes(data)
    with little_memory(), pytest.raises(UserError, match="claims to unpack to"):
        read_detection_file(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names(tmp_path: Path) -> None:
    path = archive(tmp_path / "twice.npz", ("score.npy", npy(np.ones(3))))
    with pytest.raises(UserError, match="holds score twice"):
        read_detection_file(path)
    path = archive(tmp_path / "nested.npz", ("x/score.npy", npy(np.ones(3))), score=None)
    with pytest.raises(UserError, match="lacks score"):
        read_detection_file(path)
    others = [("../../evil.npy", b"x"), ("notes.txt", b"y"), ("other.npy", header((10**12,)))]
    assert len(read_detection_file(archive(tmp_path / "others.npz", *others)).detections) == 2
    assert sorted(path.name for path in tmp_path.parent.iterdir() if "evil" in path.name) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack(tmp_path: Path, method: int) -> None:
    with pytest.raises(UserError, match=r"packed unlike \.npz files"):
        read_detection_file(archive(tmp_path / "a.npz", method=method))


def test_encrypted(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz")
    data = bytearray(path.read_bytes())
    data[data.rindex(b"score.npy") - 46 + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="is encrypted"):
        read_detection_file(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i2", "|u1"])
def test_sound_arrays_of_every_kind(tmp_path: Path, version: tuple[int, int], dtype: str) -> None:
    values = np.array([1, 0, 1]).astype(dtype)
    score = header((3,), dtype, version) + values.tobytes()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stored = read_detection_file(archive(tmp_path / "a.npz", method=method, score=score))
        np.testing.assert_array_equal(stored.detections[3].scores, [1, 1])


def test_arrays_in_fortran_order_and_zip64(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        for name, array in GOOD.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asfortranarray(array))
    np.testing.assert_array_equal(read_detection_file(path).detections[1].tlbr, [[5, 5, 25, 45]])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_damage_is_a_sentence(tmp_path: Path, method: int) -> None:
    """Changed and missing bytes anywhere: read, or refused with one line, and never much memory."""
    data = archive(tmp_path / "a.npz", method=method).read_bytes()
    generator = random.Random(1)
    refused: list[str] = []
    with little_memory():
        for _ in range(600):
            changed = bytearray(data)
            for _ in range(generator.randint(1, 4)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            cut = generator.choice([None, None, generator.randrange(len(changed))])
            (tmp_path / "b.npz").write_bytes(changed[:cut])
            try:
                read_detection_file(tmp_path / "b.npz")
            except UserError as error:
                refused.append(str(error))
    assert len(refused) > 200
    assert not any("\n" in message for message in refused)
