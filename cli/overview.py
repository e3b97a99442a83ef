"""The help of `fairmot` itself: all commands on one screen, and suggestions for a word that is no command."""

from __future__ import annotations

import os
import re
import shlex
from difflib import get_close_matches
from itertools import groupby

from fairmot.cli.table import COMMANDS

_HEAD = """\
usage: fairmot COMMAND [options]      (fairmot COMMAND --help tells more)
People or objects in a video become tracks with identities, on a GPU or any CPU.
"""
_EXAMPLES = """\
Examples:
  fairmot track video.mp4             annotated video and text in output/
  fairmot track rtsp://camera/stream --show
Documentation: README.md and docs/ of the project.   fairmot --version"""
_SOURCE_WORDS = ("demo",)


def overview() -> str:
    """Return the help of `fairmot`."""
    lines = [_HEAD]
    for group, entries in groupby(COMMANDS.items(), lambda item: item[1].group):
        lines.append(f"{group}:")
        lines += [f"  {name:<10}  {entry.summary}" for name, entry in entries]
    return "\n".join([*lines, "", _EXAMPLES])


def about_unknown(word: str) -> str:
    """Return the error for a first word that is no command."""
    if word.startswith("-"):
        return f"The option {word} needs a command before it, as in fairmot track SOURCE; see fairmot --help."
    if _is_source(word):
        return f"A source needs the command track: fairmot track {shlex.quote(word)}"
    nearest = get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    hint = f' Did you mean "{nearest[0]}"?' if nearest else " See fairmot --help."
    return f'There is no command "{word[:80]}".{hint}'


def _is_source(word: str) -> bool:
    """Tell whether a word looks like a video, a camera, an address, or names something that exists."""
    named = word.partition("?")[0] in _SOURCE_WORDS or word.isdecimal() or "://" in word
    return named or os.path.exists(word) or bool(re.search(r"\.\w{1,5}$", word)) or any(c in word for c in "*/\\")
