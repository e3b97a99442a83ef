"""Text from outside (file names, URLs, metadata, errors of libraries) made fit for a message, a terminal or a log.

`one_line` is for a value that a message quotes, `reason_of` for an error of another library that it passes on, and
`printable` for a whole message on its way out. `without_credentials` is for one URL, `without_secrets` for text that
may contain some.
"""

from __future__ import annotations

import re
import unicodedata

# Control characters (ESC, line ends, C1), formats (bidirectional overrides, tags), lone surrogates (bytes of a file
# name that are no UTF-8), line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # formats too, but part of Persian words and of emoji, and harmless

_CONSIDERED = 20  # times the length that is kept: a value may have any size

_URL = re.compile(r"[A-Za-z0-9+.-]*://\S+")
_CLOSING = "'\")]}>,;:."  # what may follow a URL in a sentence
_SECRET_IN_PATH = re.compile(r"/[^/]*(?:user|pass|pwd|token|secret)[^/=]*=.*", re.IGNORECASE | re.DOTALL)


def printable(text: object) -> str:
    r"""Return text as one line in which nothing moves the cursor, changes colors or reverses the reading order.

    Such characters are shown as Python writes them: `\x1b`, `\n`, `\u202e`.
    """
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    return "".join(_escaped(character) for character in line)


def one_line(value: object, longest: int = 80) -> str:
    """Return a value for a message: white space collapsed, escaped as by `printable`, cut if it is long.

    Args:
        value: what to show; `str` is applied to it.
        longest: most characters of it; "..." stands for the others.
    """
    line = printable(" ".join(str(value)[: _CONSIDERED * longest].split()))
    return line if len(line) <= longest else f"{line[:longest]}..."


def reason_of(error: object, longest: int = 300) -> str:
    """Return the text of another library's error as part of a message: `one_line`, no secrets, no period at the end.

    Args:
        error: the exception, or its text.
        longest: most characters of it; ONNX Runtime's messages can fill a screen.
    """
    return one_line(without_secrets(str(error)[: _CONSIDERED * longest].rstrip().rstrip(".")), longest)


def without_secrets(text: str) -> str:
    """Return text whose URLs lack what `without_credentials` removes."""
    return _URL.sub(_without_secrets, text)


def without_credentials(url: str) -> str:
    """Return a URL for messages and logs: without user name, password, query and whatever may be part of them.

    Passwords are often written with "/", "@", "?" or "#" as they are. Where a URL can be read in two ways, everything
    that either reading calls secret is removed.
    """
    scheme, _, rest = url.partition("://")
    authority, tail = split_authority(rest)
    host, path = authority.rpartition("@")[2], tail
    _, colon, port = authority.rpartition(":")
    if "@" in tail and not authority.startswith("["):
        if "@" in authority or (not port.isdecimal() and colon):
            host, path = split_authority(tail.rpartition("@")[2])
        elif colon:  # host and port, or user and the start of a password
            host, path = authority.rpartition(":")[0], ""
    elif colon and "@" not in authority and not authority.startswith("[") and not port.isdecimal():
        host, path = authority.partition(":")[0], ""
    path = _SECRET_IN_PATH.sub("/", re.split(r"[?#]", path)[0])
    shown = f"{scheme.lower()}://{host}{path}"
    return "".join(character if character.isprintable() else "?" for character in shown)


def split_authority(rest: str) -> tuple[str, str]:
    """Split what follows `://` in a URL at the first "/", "?" or "#"."""
    end = re.search(r"[/?#]|$", rest)
    at = end.start() if end else len(rest)
    return rest[:at], rest[at:]


def _without_secrets(match: re.Match[str]) -> str:
    url = match[0].rstrip(_CLOSING)
    return without_credentials(url) + match[0][len(url) :]


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _UNPRINTABLE or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")
