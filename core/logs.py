"""The log of the project's packages, handled in one place while something runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logs_to(handler: logging.Handler) -> Iterator[None]:
    """Hand what the packages of the project log, from information up, to a handler inside the `with` block."""
    logger = logging.getLogger("fairmot")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
