"""The file of an MP4 video that plays at every moment, whatever ends the writing.

FFmpeg writes fragments of half a second, each of which can be played without what follows. When the video is complete,
its `hybrid_fragmented` mode (FFmpeg 7.1 and later, so PyAV 14 and later) appends an ordinary index and turns everything
before it into plain media data by changing 8 bytes: an ordinary MP4 file, without the time and the space of a copy.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

from fairmot.core.files import open_new, write_all

OPTIONS = {
    "movflags": "hybrid_fragmented+empty_moov+default_base_moof",
    "frag_duration": "500000",  # microseconds
    "flush_packets": "1",  # a fragment is handed to the operating system when it is complete
}
BUFFER_BYTES = 2**20  # most fragments are written at once, so that hardly ever a process is killed in the midst of one


class FragmentFile:
    """A file object for PyAV, to which FFmpeg writes a fragmented MP4.

    After the first write that fails all others fail too, so nothing is changed in what is there. Changes of what was
    written before wait until `finish`: FFmpeg 7.1 makes fragments unreadable before it writes the index instead.

    Args:
        path: of the file, which is replaced.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.FileIO = open_new(path)
        self._position = 0
        self._size = 0
        self._changes: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def seekable(self) -> bool:
        """Return True: PyAV may seek."""
        return True

    def writable(self) -> bool:
        """Return True: PyAV may write."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, data: bytes) -> int:
        """Append data, or keep a change of what is there for later; return how many bytes.

        Raises:
            OSError: if the file cannot be written.
        """
        if self.error is not None:
            raise self.error
        content = bytes(data)
        if self._position < self._size:
            self._changes.append((self._position, content))
        else:
            self._write(content)
        self._position += len(content)
        return len(content)

    def finish(self) -> None:
        """Close the complete video; one of which nothing came is removed.

        Raises:
            OSError: if the file cannot be written, or could not be before.
        """
        if self.error is not None:
            raise self.error
        for position, content in self._changes:
            self._file.seek(position)
            self._write(content)
        self._file.close()
        if not self._size:
            self.remove()

    def keep(self) -> None:
        """Close a file that could not be completed, as it is."""
        self._file.close()

    def cut(self) -> bool:
        """Close a video that could not be completed after its last whole fragment; return whether it has any.

        One without is removed.
        """
        end = whole_fragments(self._file)
        if end:
            self._file.truncate(end)
        self._file.close()
        if not end:
            self.remove()
        return bool(end)

    def remove(self) -> None:
        """Close and remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        try:
            write_all(self._file, content)
        except OSError as error:
            self.error = error
            raise
        self._size = max(self._size, self._file.tell())


def whole_fragments(file: io.FileIO) -> int:
    """Return the end of the last fragment of an MP4 file that is whole, 0 if there is none."""
    size = file.seek(0, os.SEEK_END)
    position = end = 0
    before = b""
    while position + 16 <= size:
        file.seek(position)
        length, kind, long_length = struct.unpack(">I4sQ", file.read(16))
        position += long_length if length == 1 else length
        if length in (0, *range(2, 8)) or position > size:
            break
        if (before, kind) == (b"moof", b"mdat"):
            end = position
        before = kind
    return end
