"""URLs of video: supported schemes, labels without credentials for messages, names for sources."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from fairmot.core import SourceError
from fairmot.core.errors import shown

_HTTP = "http,https,httpproxy,tcp,tls,crypto,data"
_RTSP = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https"
_RTMP = "rtmp,rtmps,rtmpt,rtmpts,ffrtmphttp,http,https,tcp,tls"

# What FFmpeg may open for a URL of each scheme, also where a playlist or a redirection leads it: never files.
PROTOCOLS = {
    "http": _HTTP,
    "https": _HTTP,
    "rtmp": _RTMP,
    "rtmps": _RTMP,
    "rtp": "rtp,srtp,udp",
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "srt": "srt,udp",
    "tcp": "tcp",
    "udp": "udp",
}
LIVE_SCHEMES = frozenset(PROTOCOLS) - {"http", "https"}

_LONGEST_LABEL = 200
_LISTENING_SCHEMES = {"rtp", "srt", "tcp", "udp"}  # these may leave the host out
_ENCODING_ADVICE = (
    'write "/", "@", "?", "#" and ":" in a user name, password or path as %2F, %40, %3F, %23 and %3A where they are '
    "not separators"
)
_SECRET_IN_PATH = re.compile(r"/[^/]*(?:user|pass|pwd|token|secret)[^/=]*=.*", re.IGNORECASE | re.DOTALL)


class _Parts(NamedTuple):
    scheme: str
    authority: str  # [user[:password]@]host[:port]
    tail: str  # path, query, fragment

    @property
    def host_and_port(self) -> str:
        return self.authority.rpartition("@")[2]


def is_url(text: str) -> bool:
    """Return whether `text` starts with a URL scheme (a Windows drive letter is none)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case."""
    return _split(url).scheme


def checked_url(url: str) -> str:
    """Return a URL as FFmpeg takes it.

    Raises:
        SourceError: if its scheme is not supported, or it is malformed.
    """
    parts = _split(url)
    label = label_of(url)
    if parts.scheme not in PROTOCOLS:
        known = ", ".join(["file", *PROTOCOLS])
        raise SourceError(
            f'{label} cannot be opened: the scheme "{parts.scheme}" is not supported; use one of {known}.'
        )
    address = parts.host_and_port
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(\d*))?", address)
    if match is None and address.startswith("[") and "]" not in address:
        raise SourceError(f'{label} cannot be opened: the "]" after its IPv6 address is missing.')
    if match is None or int(match[2] or 0) > 65535:
        raise SourceError(f"{label} cannot be opened: its host or port is malformed; {_ENCODING_ADVICE}.")
    if not match[1] and parts.scheme not in _LISTENING_SCHEMES:
        raise SourceError(f"{label} cannot be opened: it names no host.")
    return f"{parts.scheme}://{parts.authority}{parts.tail}"


def local_path(url: str) -> str:
    """Return the path that a `file` URL names.

    Raises:
        SourceError: if it names another machine, or no file is there.
    """
    parts = _split(url)
    if parts.authority.lower() not in ("", "localhost"):
        raise SourceError(
            f"{label_of(url)} names a file on another machine; write file:///PATH, or give the path alone."
        )
    as_written, decoded = parts.tail, url2pathname(re.split(r"[?#]", parts.tail)[0]).replace("\0", "")
    plain = as_written if Path(as_written).is_file() else decoded
    path = Path(plain)
    if path.is_dir():
        raise SourceError(f"{plain} is a folder; give the path alone, without file://.")
    if not path.is_file():
        raise SourceError(f"There is no file {plain}; check the path.")
    return plain


def without_credentials(url: str) -> str:
    """Return a URL for messages and logs: without user name, password, query and whatever may be part of them.

    Passwords are often written with "/", "@", "?" or "#" as they are. Where a URL can be read in two ways, what is
    left out covers both.
    """
    scheme, authority, tail = _split(url)
    place, path = authority.rpartition("@")[2], tail
    _, colon, port = authority.rpartition(":")
    if "@" in tail and not authority.startswith("["):
        if "@" in authority or (not port.isdecimal() and colon):
            place, path = _split_authority(tail.rpartition("@")[2])
        elif colon:  # host and port, or user and the start of a password
            place, path = authority.rpartition(":")[0], ""
    elif colon and "@" not in authority and not authority.startswith("[") and not port.isdecimal():
        place, path = authority.partition(":")[0], ""
    path = _SECRET_IN_PATH.sub("/", re.split(r"[?#]", path)[0])
    shown = f"{scheme}://{place}{path}"
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def label_of(url: str) -> str:
    """Return a URL for a message: without credentials, and shortened if it is long."""
    return shown(without_credentials(url), _LONGEST_LABEL)


def name_of_url(url: str) -> str:
    """Return a name for a stream: the last part of the path without its ending, or the host."""
    place, path = _split_authority(without_credentials(url).partition("://")[2])
    last = unquote(path.rstrip("/").rpartition("/")[2]).rpartition(".")
    return last[0] or last[2] or _host_of(place) or "stream"


def host_of_url(url: str) -> str | None:
    """Return the host of a URL; None where it cannot be distinguished from a part of the password."""
    parts = _split(url)
    return None if "@" in parts.tail and parts.authority != parts.host_and_port else _host_of(parts.host_and_port)


def advice_for(url: str) -> str:
    """Return advice to add to a failure, if a URL has separators where they may belong to a password."""
    parts = _split(url)
    return f"; {_ENCODING_ADVICE}" if "@" in parts.tail and re.search("[@:]", parts.authority) else ""


def _split(url: str) -> _Parts:
    scheme, _, rest = url.partition("://")
    return _Parts(scheme.lower(), *_split_authority(rest))


def _split_authority(rest: str) -> tuple[str, str]:
    """Split what follows `://` at the first "/", "?" or "#"."""
    end = re.search(r"[/?#]|$", rest)
    at = end.start() if end else len(rest)
    return rest[:at], rest[at:]


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(f"//{address}").hostname
    except ValueError:
        return None
