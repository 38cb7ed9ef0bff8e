"""Save and load the state of a run, so that a kill at any moment loses no more than the steps since the last save.

A checkpoint is written to a temporary file and renamed when it is on the disk. Needs torch.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from edge_app.errors import ConfigError

FILE = "checkpoint.pt"
KEYS = frozenset(("fingerprint", "step", "widths", "network", "average", "optimizer"))


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint at `path`. Raises ConfigError if it cannot be written; the old one then stays."""
    data = io.BytesIO()
    torch.save(state, data)
    replace(path, data.getvalue())


def replace(path: Path, data: bytes) -> None:
    """Replace a file when its new content is on the disk. Raises ConfigError if that fails; the old one then stays."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        kept = "; the last checkpoint is kept" if path.exists() else ""
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}{kept}; expected free space") from exc


def load(path: Path, fingerprint: str, keys: Collection[str] = KEYS) -> dict[str, Any] | None:
    """The state at `path`; None if there is none. Raises ConfigError if it is damaged or of another run."""
    if not path.exists():
        return None
    state = read(path, keys)
    if state["fingerprint"] != fingerprint:
        raise ConfigError(f"{path}: is of another recipe or other data; expected another --out, or --restart")
    return state


def fingerprint(path: Path) -> str:
    """The fingerprint of the state at `path`; empty if it is damaged."""
    try:
        return str(read(path, ("fingerprint",))["fingerprint"])
    except ConfigError:
        return ""


def read(path: Path, keys: Collection[str] = KEYS) -> dict[str, Any]:
    """The state of any run. keys: that it must have. Raises ConfigError if there is none, or if it is damaged."""
    if not path.exists():
        raise ConfigError(f"{path}: found no checkpoint; expected the folder of a trained run")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        missing = set(keys) - state.keys()
    except Exception as exc:  # torch raises many types for a damaged file
        raise ConfigError(f"{path}: is not a checkpoint, or is damaged; expected one, or --restart") from exc
    if missing:
        raise ConfigError(f"{path}: is not a checkpoint of a run: {', '.join(sorted(missing))} missing; expected one")
    return state
