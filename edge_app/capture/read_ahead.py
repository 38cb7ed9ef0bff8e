"""A thread that reads a clip a bounded number of frames ahead. Nothing is dropped, and the order is kept.

Not here: live sources, of which only the latest frame counts (thread.py).
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from edge_app.frame import Frame

FRAMES = 2  # read ahead, the one being decoded included; each takes the memory of an image
_POLL_S = 0.1  # the longest wait inside a paced source, so that the thread notices `close`


class ReadAhead:
    """Frames of `read`, which is called on the thread: it returns a frame, None, or raises at the end."""

    def __init__(self, read: Callable[[float], Frame | None]) -> None:
        self._read = read
        # Queues in C: a condition variable would take Python code, and the interpreter lock, at every frame.
        self._frames: SimpleQueue[Frame | Exception] = SimpleQueue()
        self._slots: SimpleQueue[None] = SimpleQueue()  # one entry per frame that may still be read
        for _ in range(FRAMES):
            self._slots.put(None)
        self._end: Exception | None = None
        self._closed = False
        self._thread = Thread(target=self._run, name="read ahead", daemon=True)  # a hung decoder must not block exit
        self._thread.start()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None if it takes longer than timeout_s. Raises what `read` raised, again at each call."""
        if self._end is not None:
            raise self._end
        try:
            frame = self._frames.get(timeout=timeout_s)
        except Empty:
            return None
        if isinstance(frame, Exception):
            self._end = frame
            raise frame
        self._slots.put(None)
        return frame

    def close(self, timeout_s: float) -> bool:
        """End the thread and drop the frames that were not read. Returns whether the thread has ended."""
        self._closed = True
        self._slots.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._closed:
                self._slots.get()
                frame = None
                while frame is None and not self._closed:
                    frame = self._read(_POLL_S)
                if frame is not None:
                    self._frames.put(frame)
        except Exception as exc:  # noqa: BLE001  raised again by `read`
            self._frames.put(exc)
