"""Run a graph of ncnn once in a separate process: the engine does not check shapes, and a wrong one ends the process.

A graph whose sha256 the manifest lists needs no trial: the compiler has run it. Not here: the code of that process
(ncnn.run_trial).
"""

from __future__ import annotations

import signal
import subprocess
import sys

from edge_app.backends import Graph
from edge_app.errors import BackendError, ModelError, foreign_last_line, foreign_text

_TIMEOUT_S = 120.0
_START = "import sys; sys.path[:] = {path!r}; from edge_app.backends.ncnn import run_trial; run_trial()"


def run_once(graph: Graph) -> None:
    """Load and run a graph. Raises ModelError if it cannot be used, BackendError if no process can be started."""
    command = [sys.executable, "-c", _START.format(path=sys.path), str(graph.path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ModelError(
            f"{graph.path}: found no result within {_TIMEOUT_S:g} s; expected a graph that answers"
        ) from exc
    except OSError as exc:
        raise BackendError(f"{graph.path}: cannot be tried in a process: {foreign_text(exc)}") from exc
    if done.returncode:
        raise ModelError(f"{graph.path}: not a graph that ncnn can run: {_ending(done)}")


def _ending(done: subprocess.CompletedProcess[bytes]) -> str:
    last = foreign_last_line(done.stderr.decode(errors="replace"))
    return last if done.returncode > 0 else f"{signal.strsignal(-done.returncode)}"
