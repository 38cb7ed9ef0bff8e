"""The synthetic camera. It raises a KeyError in the call named by the file $MISCHIEF: read, close or build.

With `build`, reads fail as well: only a source that is lost is built again.

word: the message of the exception; no output may show it.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge_app.clock import Clock
from edge_app.frame import Frame
from edge_app.sources import synthetic


class Source(synthetic.Source):
    def __init__(self, clock: Clock, *, word: str = "") -> None:
        super().__init__(clock, width=64, height=48, live=True, fps=100)
        self._word = word
        self._raise_if("build")

    def read(self, timeout_s: float) -> Frame | None:
        self._raise_if("read", "build")
        return super().read(timeout_s)

    def close(self) -> None:
        self._raise_if("close")
        super().close()

    def _raise_if(self, *places: str) -> None:
        if Path(os.environ["MISCHIEF"]).read_text(encoding="ascii") in places:
            raise KeyError(self._word)
