"""Functions that worker processes of the tests run."""

from __future__ import annotations

import logging
import os
import time

from fairmot.core.errors import SourceError
from fairmot.core.processes import Channel, forwarded_logs, portable


def answer(channel: Channel, *descriptors: int) -> None:
    """Answer every message with itself and what the process is."""
    while True:
        channel.send(os.getpid(), os.environ.get("FAIRMOT_WORD"), *channel.receive())


def write(channel: Channel, descriptor: int) -> None:
    """Write what comes into a file that was handed over."""
    os.write(descriptor, channel.receive()[0])
    channel.send("done")


class _UnportableError(Exception):
    def __init__(self) -> None:
        super().__init__("has no words")
        self.kept = lambda: None


def fail(channel: Channel) -> None:
    """Fail in both ways, and log."""
    with forwarded_logs(channel):
        logging.getLogger("fairmot.video").warning("%s is %d", "it", 5)
    for error in (SourceError("There is nothing."), _UnportableError()):
        try:
            raise error
        except Exception as caught:
            channel.send(*portable(caught))


def hang(channel: Channel) -> None:
    """Ignore the channel."""
    channel.send(os.getpid())
    time.sleep(1000)
