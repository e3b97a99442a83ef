"""Prefetching: an iterator run ahead in a thread, with a bounded queue between it and the consumer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_JOIN_SECONDS = 2.0


class Prefetcher(Generic[T]):
    """Iterate `items` in a background thread and yield them in order.

    Whatever the iterator raises is raised again in the consumer, after the items before it. The
    thread owns the iterator: it closes it and then calls `release`, also when the consumer stops
    early, so nothing is torn down under a decoder that is still running.

    Args:
        items: what to iterate; it is touched by the thread alone.
        depth: most items waiting for the consumer.
        newest_only: for live sources: when the queue is full the oldest item is dropped, so that the
            consumer never sees stale frames; otherwise the thread waits.
        release: called in the thread when the iteration has ended.
    """

    def __init__(
        self,
        items: Iterator[T],
        depth: int,
        *,
        newest_only: bool = False,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._items = items
        self._newest_only = newest_only
        self._release = release
        self._depth = depth
        self._queue: deque[T] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None
        # A daemon, so that a read that hangs until its timeout cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._finished or self._closed)
            if self._queue and not self._closed:
                item = self._queue.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None and not self._closed:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Stop the thread and drop what is queued; does nothing the second time.

        Waits briefly for the thread. A thread that is inside a blocking read ends, and releases its
        source, when that read does.
        """
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as caught:  # carried over to the consumer, whatever it is
            error = caught
        try:
            close = getattr(self._items, "close", None)  # generators have it, plain iterators need not
            if close is not None:
                close()
            self._release()
        except BaseException as caught:  # the consumer waits until `_finished`, so nothing may end the thread before
            error = error or caught
        finally:
            with self._changed:
                self._error = error
                self._finished = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        """Queue an item, waiting for room; return False when the consumer has closed."""
        with self._changed:
            if self._newest_only:
                while len(self._queue) >= self._depth:
                    self._queue.popleft()
            else:
                self._changed.wait_for(lambda: len(self._queue) < self._depth or self._closed)
            if self._closed:
                return False
            self._queue.append(item)
            self._changed.notify_all()
            return True
