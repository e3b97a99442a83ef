"""Reading of untrusted archives of NumPy arrays (`.npz`) in bounded memory.

`np.load` trusts a header that claims 1e12 numbers and a zip member that unpacks to terabytes. Here the claims of all
headers are compared with the bytes that are really there before any array is allocated.
"""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fairmot.core.errors import UserError

# Numbers of real detections deflate to a half, those without embeddings to a tenth; zip bombs to a thousandth.
_LARGEST_GROWTH = 50
_ALWAYS_ALLOWED = 256 << 20  # unpacked bytes that any file may have: a few million detections without embeddings
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of np.savez and np.savez_compressed
_ENCRYPTED = 0x1
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# Exceptions of zipfile, zlib and NumPy's header parser for damaged files (found by random changes of bytes).
_DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    SyntaxError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class _Header:
    """The header of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_archive(path: Path, names: Iterable[str], texts: Iterable[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays with these names that an archive holds; others are ignored.

    Args:
        path: of the archive.
        names: of arrays of numbers.
        texts: names of arrays of text.

    Raises:
        UserError: if the file is not a valid archive, holds a name twice, an array of other values than these, or
            fewer bytes than it claims.
    """
    texts = frozenset(texts)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(archive, [*names, *texts], path)
            size = file.seek(0, 2)
            unpacked = sum(member.file_size for member in members.values())
            packed = sum(member.compress_size for member in members.values())
            if packed > size or unpacked > max(_ALWAYS_ALLOWED, _LARGEST_GROWTH * size):
                raise UserError(
                    f"{path} has {size} bytes and claims to unpack to {unpacked}; write it with --save-detections."
                )
            for name, member in members.items():
                _require_valid(archive, member, name, path, "U" if name in texts else "iuf")
            return {name: _array(archive, member) for name, member in members.items()}
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except _DAMAGE as error:
        raise UserError(f"{path} is not an .npz file of arrays of numbers; write it with --save-detections.") from error


def _members(archive: zipfile.ZipFile, names: Iterable[str], path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive that hold the named arrays."""
    wanted = {f"{name}.npy": name for name in names}
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = wanted.get(member.filename)
        if name is None:
            continue
        if name in found:
            raise UserError(f"{path} holds {name} twice; write it with --save-detections.")
        if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
            raise UserError(f"{path} is encrypted or packed unlike .npz files; write it with --save-detections.")
        found[name] = member
    return found


def _require_valid(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, path: Path, kinds: str) -> None:
    """Raise unless the header of an array describes values of one of these kinds that fill its member exactly."""
    with archive.open(member) as file:
        header = _header(file)
        size = member.file_size - file.tell()
    if header.dtype.kind not in kinds:
        wanted = "text" if kinds == "U" else "numbers"
        raise UserError(f"{path} holds something else than {wanted} in {name}; write it with --save-detections.")
    claimed = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=1) < 0 or claimed != size:
        shape = " x ".join(map(str, header.shape)) or "1"
        raise UserError(
            f"{path} claims {shape} numbers in {name} and has {size} bytes of them; write it with --save-detections."
        )


def _header(file: IO[bytes]) -> _Header:
    read = _HEADER_READERS[np.lib.format.read_magic(file)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        shape, _, dtype = read(file)
    return _Header(shape, dtype)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
