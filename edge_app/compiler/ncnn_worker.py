"""Run one graph with the runtime's ncnn backend, in a separate process: `ncnn_worker.py job.json`.

A graph that ends the process ends only this one. An error is one line on stderr, with exit code 1.
Not here: comparing the outputs (ncnn_target.py).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.backends import Graph
from edge_app.backends.ncnn import Backend
from edge_app.errors import EdgeError


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        outputs = run(Path(job["param"]), Path(job["inputs"]))
    except EdgeError as exc:
        sys.exit(str(exc))
    np.savez(job["outputs"], **outputs)


def run(param: Path, inputs: Path) -> dict[str, Any]:
    """Outputs as `row/name`, and `memory`: bytes. inputs: an npz with `row/name`. Raises EdgeError."""
    rows: dict[str, dict[str, Any]] = {}
    with np.load(inputs) as file:
        for key in file.files:
            row, _, name = key.partition("/")
            rows.setdefault(row, {})[name] = file[key]
    backend = Backend()
    before = _anonymous_bytes()
    session = backend.load(Graph(param, hashlib.sha256(param.read_bytes()).hexdigest()))  # this process is the trial
    outputs: dict[str, Any] = {}
    for row, feeds in rows.items():
        outputs |= {f"{row}/{name}": np.array(value) for name, value in session.run(feeds).items()}
        if "memory" not in outputs:
            outputs["memory"] = np.array(max(0, _anonymous_bytes() - before))
    session.close()
    return outputs


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)
