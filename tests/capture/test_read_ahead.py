"""ReadAhead calls its reader on a thread, a bounded number of frames ahead, and keeps order and errors."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edge_app.capture import read_ahead
from edge_app.capture.read_ahead import ReadAhead
from edge_app.errors import ClipError, EndOfClip
from edge_app.frame import Frame

TIMEOUT_S = 20.0


class Reader:
    """Returns numbered frames, then raises. Every second call returns None, as a paced source does."""

    def __init__(self, frames: int, end: Exception) -> None:
        self.frames, self.end = frames, end
        self.calls = self.returned = 0

    def read(self, timeout_s: float) -> Frame | None:
        assert timeout_s > 0
        self.calls += 1
        if self.calls % 2:
            return None
        if self.returned == self.frames:
            raise self.end
        self.returned += 1
        return Frame("clip", self.returned - 1, 0, 0, np.zeros((4, 4, 3), np.uint8))


def wait_for(condition) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("end", [EndOfClip(), ClipError("clip.mp4: is truncated")])
def test_returns_every_frame_in_order_and_then_raises_the_end_again_and_again(end):
    reading = ReadAhead(Reader(9, end).read)
    assert [reading.read(TIMEOUT_S).sequence for _ in range(9)] == list(range(9))
    for _ in range(3):
        with pytest.raises(type(end)):
            reading.read(TIMEOUT_S)
    assert reading.close(TIMEOUT_S)


def test_reads_only_a_bounded_number_of_frames_ahead():
    reader = Reader(100, EndOfClip())
    reading = ReadAhead(reader.read)
    for taken in range(10):
        wait_for(lambda taken=taken: reader.returned == taken + read_ahead.FRAMES)
        time.sleep(0.02)
        assert reader.returned == taken + read_ahead.FRAMES
        assert reading.read(TIMEOUT_S).sequence == taken
    assert reading.close(TIMEOUT_S)


def test_returns_none_if_the_reader_takes_too_long():
    release = threading.Event()

    def read(timeout_s: float) -> Frame | None:
        release.wait(TIMEOUT_S)
        raise EndOfClip

    reading = ReadAhead(read)
    assert reading.read(0.01) is None
    release.set()
    with pytest.raises(EndOfClip):
        reading.read(TIMEOUT_S)
    assert reading.close(TIMEOUT_S)


def test_close_ends_a_thread_that_waits_for_the_pipeline_or_for_the_source():
    full = ReadAhead(Reader(100, EndOfClip()).read)
    wait_for(lambda: full._frames.qsize() == read_ahead.FRAMES)
    assert full.close(TIMEOUT_S)
    idle = ReadAhead(lambda _: None)
    assert idle.close(TIMEOUT_S)


def test_close_reports_a_reader_that_hangs():
    release = threading.Event()
    reading = ReadAhead(lambda _: release.wait(TIMEOUT_S) and None)
    assert not reading.close(0.01)
    release.set()
    assert reading.close(TIMEOUT_S)
