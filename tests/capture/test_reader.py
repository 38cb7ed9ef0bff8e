"""Reader: one source and its thread; detects a call that hangs."""

import threading
import time

from edge_app.capture.reader import Reader


class Source:
    """Reads until the event is set."""

    live = None

    def __init__(self):
        self.release = threading.Event()
        self.closed = False

    def read(self, timeout_s):
        self.release.wait(10)
        return None

    def close(self):
        self.closed = True


def test_a_call_that_takes_too_long_hangs():
    source = Source()
    reader = Reader(source)
    reader.hang_after_s = 0.05
    assert not reader.hangs()
    reader.start(lambda each: each.read(0.1))
    deadline_s = time.monotonic() + 10
    while not reader.hangs():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    source.release.set()
    reader.thread.join(10)
    assert not reader.hangs()
    assert not reader.is_alive()


def test_close_closes_the_source_once():
    source = Source()
    reader = Reader(source)
    reader.close()
    reader.close()
    assert source.closed
    assert reader.source is None
