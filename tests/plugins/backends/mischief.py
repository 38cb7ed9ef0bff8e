"""onnxruntime with injected faults. The file named by $MISCHIEF selects the fault; it is read before each run.

`hang`: the run does not return until the file changes. `fail`: every graph raises. `fail NAME`: the graph of this name
raises. `leak`: each run leaks a megabyte.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from edge_app.backends import onnx
from edge_app.errors import BackendError


class Backend(onnx.Backend):
    preference = -1

    @property
    def version(self):
        return "mischief"

    def load(self, graph, keep=()):
        if fault() == "fail":
            raise BackendError("made to fail at loading")
        return Session(super().load(graph, keep), graph.path.stem)


class Session:
    def __init__(self, session, name):
        self._session = session
        self._name = name
        self._leaked = []
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feeds):
        while fault() == "hang":
            time.sleep(0.02)
        if fault() == "leak":
            self._leaked.append(b"x" * 1_000_000)
        if fault() in ("fail", f"fail {self._name}"):
            raise BackendError(f"{self._name}: made to fail")
        return self._session.run(feeds)

    def close(self):
        self._session.close()


def fault() -> str:
    return Path(os.environ["MISCHIEF"]).read_text(encoding="ascii").strip()
