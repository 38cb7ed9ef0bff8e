"""onnxruntime that misbehaves as the file in $MISCHIEF says, read at every run of a graph.

`hang`: does not return until the file says something else. `fail`: raises. `fail NAME`: so does the graph of that name.
`leak`: keeps a megabyte more at every run.
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
        if told() == "fail":
            raise BackendError("made to fail at loading")
        return Session(super().load(graph, keep), graph.path.stem)


class Session:
    def __init__(self, session, name):
        self._session = session
        self._name = name
        self._leaked = []
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feeds):
        while told() == "hang":
            time.sleep(0.02)
        if told() == "leak":
            self._leaked.append(b"x" * 1_000_000)
        if told() in ("fail", f"fail {self._name}"):
            raise BackendError(f"{self._name}: made to fail")
        return self._session.run(feeds)

    def close(self):
        self._session.close()


def told() -> str:
    return Path(os.environ["MISCHIEF"]).read_text(encoding="ascii").strip()
