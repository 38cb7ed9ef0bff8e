"""Stored costs: `state_dir/tune/costs/<machine>/<model>.yaml`.

Costs are a property of a machine. A device uses only costs that were measured on an equal machine with the same engine,
and measures its own otherwise. Tolerances are a property of model and camera and have another file (profile.py).
Not here: measuring (calibrate.py).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from edge_app.backends import Backend
from edge_app.model.manifest import Manifest
from edge_app.options import WRONG, Range, read_dataclass
from edge_app.options.document import Problems, load_yaml
from edge_app.reuse import profile
from edge_app.reuse.costs import Cost, Costs

_LOG = logging.getLogger(__name__)
_MAX_KEY = 200  # characters, within the limit of a file name
Milliseconds = Annotated[float, Range(0)]


@dataclass(frozen=True, slots=True)
class StoredCost:
    """As Cost."""

    a: Milliseconds
    b: Milliseconds


@dataclass(frozen=True, slots=True)
class StoredCosts:
    """As Costs."""

    dense: Milliseconds
    detect: Milliseconds
    plan: Milliseconds
    segments: dict[str, StoredCost] = field(default_factory=dict)


def machine_key(backend: Backend, root: Path = Path("/")) -> str:
    """A name for machines with equal costs: architecture, board or CPU model, engine with version, and graph target.

    It holds no serial number or host name. backend: with at least one graph loaded, since some engines report their
    version only then. root: of the file system, for tests.
    """
    parts = (os.uname().machine, _board_or_cpu(root), backend.version, backend.target)
    return re.sub(r"[^a-z0-9._]+", "-", " ".join(parts).lower()).strip("-.")[:_MAX_KEY]


def path(state_dir: Path, machine: str, manifest: Manifest) -> Path:
    """The file with the costs of a model. machine: as from `machine_key`."""
    return state_dir / "tune" / "costs" / machine / f"{profile.model_key(manifest)}.yaml"


def load(file: Path) -> Costs | None:
    """Read a file; None if it does not exist. Raises ConfigError with every mistake, a line each."""
    if not file.exists():
        return None
    problems = Problems(file)
    root = load_yaml(file, problems)
    problems.raise_if_any()
    read = read_dataclass(root, StoredCosts, "", problems)
    problems.raise_if_any()
    if read is WRONG:
        return None
    assert isinstance(read, StoredCosts)
    segments = {name: Cost(cost.a, cost.b) for name, cost in read.segments.items()}
    return Costs(read.dense, segments, read.detect, read.plan)


def save(file: Path, costs: Costs) -> None:
    """Write a file atomically. Raises OSError."""
    segments = {name: StoredCost(round(cost.a, 4), round(cost.b, 4)) for name, cost in costs.segments.items()}
    stored = StoredCosts(round(costs.dense, 4), round(costs.detect, 4), round(costs.plan, 4), segments)
    profile.write_yaml(file, "Measured on this machine by edge-app. Delete it to measure again.", asdict(stored))


def measure_once(file: Path, measure: Callable[[], Costs | None]) -> None:
    """Measure and store the costs unless they are stored already: at the first start of a model on a machine.

    Raises ConfigError if the file is damaged. If it cannot be written, the next start measures again.
    """
    if load(file) is not None:
        return
    costs = measure()
    if costs is None:
        return
    try:
        save(file, costs)
    except OSError as exc:
        _LOG.warning("%s: cannot be written: %s; the next start measures the costs of reuse again", file, exc)


def _board_or_cpu(root: Path) -> str:
    """The board's name from the device tree, else the CPU's from /proc/cpuinfo, else "unknown"."""
    try:
        return (root / "proc/device-tree/model").read_text(encoding="ascii", errors="replace").strip("\0\n ")
    except OSError:
        pass
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "unknown"
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else "unknown"
