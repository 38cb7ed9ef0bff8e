"""Frames between the capture thread and the pipeline: a bounded queue for clips, the latest frame for live sources."""

from __future__ import annotations

from collections import deque

from edge_app.frame import Frame


class FrameQueue:
    """Frames that were captured and not read yet. Not thread-safe: Capture guards it with its lock.

    capacity: frames of a clip that are decoded ahead. A live source holds one frame, regardless of the capacity.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._frames: deque[Frame] = deque()
        self.end: Exception | None = None  # to be raised once the queue is empty
        self.delivered = 0
        self.dropped = 0
        self.next_sequence = 0  # of the first frame after a reconnect
        self.last_frame_ns: int | None = None

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def full(self) -> bool:
        return len(self._frames) >= self._capacity

    def put(self, frame: Frame) -> None:
        """Append the next frame of a clip; the caller waits while the queue is full."""
        self._frames.append(frame)
        self.next_sequence = frame.sequence + 1
        self.last_frame_ns = frame.captured_ns

    def put_latest(self, frame: Frame) -> None:
        """Store a frame of a live source. An unread frame is dropped and counted."""
        if self._frames:
            self._frames.popleft()
            self.dropped += 1
        self.put(frame)

    def clear(self) -> None:
        """Drop the frames that were not read, and forget the end."""
        self._frames.clear()
        self.end = None

    def pop(self) -> Frame:
        self.delivered += 1
        return self._frames.popleft()
