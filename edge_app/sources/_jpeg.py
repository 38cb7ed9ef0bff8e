"""Whether a JPEG is complete, and where it ends (ITU T.81). Decoders return a half-gray image for a truncated one.

The end marker must be the image's own: a thumbnail in the metadata has one too. Not a source: nothing is decoded here.
"""

from __future__ import annotations

import re

_START, _END = b"\xff\xd8", b"\xff\xd9"
_MAX_LEAD = 64  # bytes before the start marker, such as an empty line
# The next marker: not a stuffed zero, a restart marker or a fill byte, which occur in entropy-coded data (B.1.1).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_WITHOUT_LENGTH = 0x01
_END_OF_IMAGE = 0xD9
_START_OF_IMAGE = 0xD8


class JpegScanner:
    """Finds the end of an image in a buffer that grows. Reads every byte once.

    start: index of the start marker. damaged: the data can no longer become a complete JPEG.
    """

    def __init__(self) -> None:
        self.start = -1
        self.damaged = False
        self._next = 0

    def find_end(self, data: bytes | bytearray | memoryview) -> int | None:
        """The index after the end marker; None if there is none yet. data: that of the last call, and more after it."""
        if self.start < 0 and not self._find_start(data):
            return None
        while not self.damaged and self._next + 1 < len(data):
            found = _MARKER.search(data, self._next)
            if found is None:
                self._next = len(data) - 1  # its last byte may be the first of a marker
                break
            self._next = found.start()
            marker = data[self._next + 1]
            if marker == _END_OF_IMAGE:
                return self._next + 2
            if marker == _START_OF_IMAGE:  # the next image begins
                self.damaged = True
            elif marker == _WITHOUT_LENGTH:
                self._next += 2
            elif not self._skip_segment(data):
                break
        return None

    def _find_start(self, data: bytes | bytearray | memoryview) -> bool:
        self.start = bytes(data[:_MAX_LEAD]).find(_START)
        self._next = self.start + 2
        self.damaged = self.start < 0 and len(data) >= _MAX_LEAD
        return self.start >= 0

    def _skip_segment(self, data: bytes | bytearray | memoryview) -> bool:
        """Go to the end of a segment, which may be beyond the data. False if its length has not arrived yet."""
        at = self._next + 2
        if at + 2 > len(data):
            return False
        length = int.from_bytes(data[at : at + 2], "big")
        self.damaged = length < 2
        self._next = at + length
        return True


def is_complete(data: bytes | bytearray | memoryview) -> bool:
    """Whether the image has its end marker. Other data may follow, such as a Motion Photo's video."""
    if bytes(data[:2]) != _START:
        return False
    return bytes(data[-2:]) == _END or JpegScanner().find_end(data) is not None
