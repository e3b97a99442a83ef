"""The choice between threads and processes for what runs beside the loop, and the memory that the processes share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from fairmot.app.options import Options
from fairmot.app.tracking_process import batches_in_flight
from fairmot.core.processes import CAN_SHARE_MEMORY
from fairmot.engine import Engine
from fairmot.video import Source
from fairmot.video.frame_ring import FrameRing, RingLayout
from fairmot.video.urls import is_url
from fairmot.video.video_process import MOST_HELD

log = logging.getLogger(__name__)

# The first frame comes half a second later from a process, which loads OpenCV and FFmpeg anew (measured on two cores);
# later ones come at 1,000 frames/s instead of 450 (H200): 1.2 ms saved by each of some 400.
_SHORT_FRAMES = 400


def uses_processes(options: Options, source: Source, engine: Engine) -> bool:
    """Return whether a source is to be read and tracked, and its results written, in processes of their own.

    Cameras, streams and URLs are always read by a thread: opened twice they may not be the same, or not at all.

    Args:
        options: of the command.
        source: open, its frames selected.
        engine: open. Only one that works ahead is fast enough to wait for Python's threads.
    """
    if options.pipeline == "threads" or source.is_live or source.origin is None or is_url(source.origin.spec):
        return False
    if options.pipeline == "processes":
        return True
    count = source.frame_count
    return CAN_SHARE_MEMORY and engine.prefetch_batches > 0 and (count is None or count > _SHORT_FRAMES)


def shared_frames(stack: ExitStack, options: Options, source: Source, engine: Engine) -> FrameRing | None:
    """Let a process read a source if `uses_processes`, until the stack closes; return the ring of its frames, or None.

    Where `auto` chose that and the system refuses (`ulimit`, a sandbox) a thread reads the source, with a warning.

    Raises:
        OSError: if a process was asked for and cannot be had.
    """
    if not uses_processes(options, source, engine):
        return None
    try:
        return stack.enter_context(frames_from_process(source, engine))
    except OSError as error:
        if options.pipeline == "processes":
            raise
        log.warning(
            "%s is read by a thread, since a process that shares memory with this one cannot be had (%s); "
            "--pipeline threads asks for that.",
            *(source.name, (error.strerror or str(error)).lower()),
        )
        return None


@contextmanager
def frames_from_process(source: Source, engine: Engine) -> Iterator[FrameRing]:
    """Let a process read a source into a ring that the engine reads fastest; closes the source at the end.

    Args:
        source: open, its frames selected, nothing read yet.
        engine: open.

    Yields:
        The ring.

    Raises:
        OSError: if there is no memory for it, or the process cannot be started.
    """
    # Those that the engine has, those of which the results are used, those that are read next, those whose tracks are
    # on the way, and those that are drawn.
    batches = engine.prefetch_batches + 2 + batches_in_flight(engine)
    held = batches * engine.max_batch + MOST_HELD
    ring = FrameRing(RingLayout.fitting(source.frame_bytes, held))
    with closing(ring):
        source.decode_in_process(ring)
        with engine.page_locked(ring.memory), closing(source):
            yield ring
