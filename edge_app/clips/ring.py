"""The latest images in memory, within a limit of bytes. Not here: which of them a clip needs (recorder.py)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from edge_app.clips.jpeg import Still


class Ring:
    """Images in the order of capture. Used by one thread. bytes: of all images."""

    def __init__(self) -> None:
        self._stills: deque[Still] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._stills)

    def add(self, still: Still) -> None:
        """Add the latest image. After a change of the image size, the images before it are dropped."""
        if self._stills and self._stills[-1].size != still.size:
            self._stills.clear()
            self.bytes = 0
        self._stills.append(still)
        self.bytes += len(still.jpeg)

    def trim(self, keep_ns: int, max_bytes: int) -> None:
        """Drop images that are not needed from keep_ns on, then the oldest ones while they exceed max_bytes.

        The latest image before keep_ns is kept: it is what was visible at that time. So is the latest of all.
        """
        stills = self._stills
        while len(stills) > 1 and (stills[1].captured_ns <= keep_ns or self.bytes > max_bytes):
            self.bytes -= len(stills.popleft().jpeg)

    def between(self, from_ns: int, until_ns: int) -> Sequence[Still]:
        """The images of this time, beginning with what was visible at its start: the latest image before it.

        That one gets the time of the start: after a gap without frames it may be much older.
        """
        stills = [still for still in self._stills if still.captured_ns <= until_ns]
        first = sum(still.captured_ns <= from_ns for still in stills) - 1
        part = stills[max(0, first) :]
        if part and part[0].captured_ns < from_ns:
            late_ns = from_ns - part[0].captured_ns
            part[0] = replace(part[0], captured_ns=from_ns, utc_ns=part[0].utc_ns + late_ns)
        return part
