"""The synthetic camera. It fails while the file named by $MISCHIEF contains `no camera`."""

from __future__ import annotations

import os
from pathlib import Path

from edge_app.errors import SourceError
from edge_app.frame import Frame
from edge_app.sources import synthetic


class Source(synthetic.Source):
    def read(self, timeout_s: float) -> Frame | None:
        if Path(os.environ["MISCHIEF"]).read_text(encoding="ascii").strip() == "no camera":
            raise SourceError("mischief: injected fault, no camera")
        return super().read(timeout_s)
