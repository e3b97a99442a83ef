"""Text from outside (file names, URLs, metadata, messages of libraries), made fit for a terminal or a log."""

from __future__ import annotations

import re
import unicodedata

# Control characters (ESC, line ends, C1), formats (bidirectional overrides, tags), lone surrogates (bytes of a file
# name that are no UTF-8), line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # formats too, but part of Persian words and of emoji, and harmless

_USER_INFO = re.compile(r"(?<=://)[^\s/]*@")
_QUERY = re.compile(r"(?<=://)([^\s?]*)\?[^\s'\"]*")


def printable(text: object) -> str:
    r"""Return text as one line in which nothing moves the cursor, changes colors or reverses the reading order.

    Such characters are shown as Python writes them: `\x1b`, `\n`, `\u202e`.
    """
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    return "".join(_escaped(letter) for letter in line)


def without_secrets(text: str) -> str:
    """Return text whose URLs lack user name, password and query."""
    return _QUERY.sub(r"\1", _USER_INFO.sub("", text))


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) not in _UNPRINTABLE or letter in _JOINERS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
