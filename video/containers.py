"""Opening of video files and network streams: what FFmpeg may open for them, and the errors when it cannot."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import av

from fairmot.core import SourceError
from fairmot.video import pyav
from fairmot.video.playlists import PLAYLIST_SUFFIXES, check_playlist
from fairmot.video.structure import lacks_index
from fairmot.video.urls import (
    PROTOCOLS,
    advice_for,
    checked_url,
    host_of_url,
    label_of,
    scheme_of,
)

TIMEOUT_SECONDS = 10.0

# A key frame of 1080p comes as a burst of several hundred kB, and packets go on coming while nothing is read yet. The
# socket gets 2 MiB (Linux cuts that to net.core.rmem_max), FFmpeg's queue behind it 16 MiB, counted in packets of 188
# bytes; one that is full loses packets and does not end the stream (FFmpeg's documentation, "Protocols", udp).
_UDP = {"buffer_size": str(2 * 2**20), "fifo_size": str(16 * 2**20 // 188), "overrun_nonfatal": "1"}
_RTP = {"buffer_size": _UDP["buffer_size"]}
_BUFFERS = {"udp": _UDP, "rtp": _RTP}

# Decoders pad frames before FFmpeg compares their size with its limit, so its limit is this much above ours.
_PADDING_PIXELS = 2**24

# Demuxers that read devices, or whatever other files and addresses their input names.
_INDIRECT = {
    *("alsa", "avfoundation", "dshow", "fbdev", "gdigrab", "jack", "kmsgrab", "lavfi", "oss", "pulse"),
    *("video4linux2,v4l2", "vfwcap", "x11grab", "xcbgrab"),
    *("concat", "dash", "ffmetadata", "hls", "imf", "rtsp", "sap", "sdp", "webm_dash_manifest"),
}
_PLAYLISTS_BY_SCHEME = {"http": {"dash", "hls"}, "https": {"dash", "hls"}, "rtsp": {"rtsp"}, "rtsps": {"rtsp"}}

# First bytes of files that hold the names of others: FFmpeg recognizes them by content, whatever they are called.
_LISTS = {
    b"#EXTM3U": "a playlist (HLS); name it .m3u8 if the videos it names are beside it",
    b"ffconcat": "a list of other files (ffconcat); give those files",
    b"v=0": "a session description (SDP); give the URL of the stream",
    b"<MPD": "a manifest (DASH); give the URL of the stream",
}


def open_file(path: str, max_pixels: int) -> av.container.InputContainer:
    """Open a video file; FFmpeg's own messages stay off the terminal (PyAV discards them by default).

    Nothing but this file is opened, except by a playlist that ends in .m3u8, for files of its own folder.

    Raises:
        SourceError: if it cannot be opened.
    """
    is_playlist = Path(path).suffix.lower() in PLAYLIST_SUFFIXES
    if is_playlist:
        check_playlist(Path(path))
    options = {
        "format_whitelist": _formats({"hls"} if is_playlist else set()),
        "protocol_whitelist": "file,crypto,data" if is_playlist else "file",
        "pattern_type": "none",  # a "%" or "*" in the name of an image is part of the name
    }
    try:
        # The prefix keeps a file name with a colon from being read as a protocol. A playlist without an end is waited
        # on for more.
        timeout = TIMEOUT_SECONDS if is_playlist else None
        return pyav.open_input(f"file:{path}", options, decoder_options(max_pixels), timeout)
    except av.FFmpegError as error:
        raise SourceError(_why_not_file(Path(path), error)) from error


def open_url(url: str, max_pixels: int) -> av.container.InputContainer:
    """Open a network stream, waiting at most `TIMEOUT_SECONDS` for it, and for every packet later.

    Raises:
        SourceError: if it cannot be opened.
    """
    location = checked_url(url)
    scheme = scheme_of(url)
    options = {
        "format_whitelist": _formats(_PLAYLISTS_BY_SCHEME.get(scheme, set())),
        "protocol_whitelist": PROTOCOLS[scheme],
        **_BUFFERS.get(scheme, {}),
    }
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    try:
        return pyav.open_input(location, options, decoder_options(max_pixels), TIMEOUT_SECONDS)
    except av.FFmpegError as error:
        # `from None`: the error's text holds the URL with the password.
        raise SourceError(f"The stream {label_of(url)} cannot be opened: {_why_not_url(url, error)}.") from None


def decoder_options(max_pixels: int) -> dict[str, str]:
    """Return the options that keep a decoder from allocating frames of more than `max_pixels`."""
    return {"max_pixels": str(min(max_pixels + _PADDING_PIXELS, 2**31 - 1))}


def reason_of(error: Exception) -> str:
    """Return FFmpeg's reason as a clause."""
    if isinstance(error, av.error.ExitError):  # how the interrupt callback of PyAV's timeouts ends a read
        return f"no answer within {TIMEOUT_SECONDS:g} seconds"
    return (getattr(error, "strerror", None) or type(error).__name__).rstrip(".").lower()


def _formats(more: set[str]) -> str:
    return ",".join(sorted((av.formats_available - _INDIRECT) | more))


def _why_not_file(path: Path, error: av.FFmpegError) -> str:
    """Return the message for a file that FFmpeg cannot open."""
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: {reason_of(error)}."
    try:
        with path.open("rb") as file:
            head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as failure:
        return f"{path} cannot be read: {failure.strerror or 'unknown reason'}."
    if not head:
        return f"{path} is not a video that can be read: it is empty; copy or record it again."
    for begin, kind in _LISTS.items():
        if head.startswith(begin) or (begin.startswith(b"<") and head.startswith(b"<?xml") and begin in head):
            return f"{path} is not a video that can be read: it is {kind}."
    if lacks_index(path):
        return (
            f"{path} is not a video that can be read, or is cut off: its index (moov) is missing, as in a recording "
            "that was not finished; copy it again, or repair it."
        )
    return f"{path} is not a video that can be read, or is cut off: {reason_of(error)}."


def _why_not_url(url: str, error: av.FFmpegError) -> str:
    """Return the reason why FFmpeg cannot open a URL, as a clause."""
    scheme = scheme_of(url)
    kinds = av.error
    if isinstance(error, kinds.HTTPUnauthorizedError):
        return (
            "the server asks for a user name and password, or refuses those given (401); "
            f"write {scheme}://USER:PASSWORD@HOST/, special characters percent-encoded"
        )
    if isinstance(error, kinds.HTTPForbiddenError):
        return "the server refuses access (403); check user name, password and permissions"
    if isinstance(error, kinds.HTTPNotFoundError):
        return "the server has nothing at this path (404); check the path"
    if isinstance(error, kinds.ProtocolNotFoundError):
        return f"the FFmpeg of this PyAV ({av.__version__}) is built without {scheme}"
    host = host_of_url(url)
    if host and not isinstance(error, kinds.ExitError) and not _resolves(host):
        return f"the host name {host} cannot be resolved; check its spelling and the network{advice_for(url)}"
    if error.errno == errno.ECONNREFUSED:
        return f"connection refused; nothing listens at this host and port{advice_for(url)}"
    return f"{reason_of(error)}{advice_for(url)}"


def _resolves(host: str) -> bool:
    """Return whether a host has an address; FFmpeg reports one without as an input/output error."""
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return True
