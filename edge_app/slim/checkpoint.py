"""Save and load the state of a run, so that a kill at any moment loses no more than the steps since the last save.

A checkpoint is written to a temporary file and renamed when it is on the disk. Needs torch.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch

from edge_app.errors import ConfigError

FILE = "checkpoint.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint at `path`. Raises ConfigError if it cannot be written; the old one then stays."""
    data = io.BytesIO()
    torch.save(state, data)
    temporary = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        kept = "; the last checkpoint is kept" if path.exists() else ""
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}{kept}; expected free space") from exc


def load(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state at `path`; None if there is none. Raises ConfigError if it is damaged or of another run."""
    if not path.exists():
        return None
    state = read(path)
    if state["fingerprint"] != fingerprint:
        raise ConfigError(f"{path}: is of another recipe or other data; expected another --out, or --restart")
    return state


def read(path: Path) -> dict[str, Any]:
    """The state of any run. Raises ConfigError if there is none, or if it is damaged."""
    if not path.exists():
        raise ConfigError(f"{path}: found no checkpoint; expected the folder of a trained run")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        missing = {"fingerprint", "step", "widths", "network", "average", "optimizer"} - state.keys()
    except Exception as exc:  # torch raises many types for a damaged file
        raise ConfigError(f"{path}: is not a checkpoint, or is damaged; expected one, or --restart") from exc
    if missing:
        raise ConfigError(f"{path}: is not a checkpoint of a run: {', '.join(sorted(missing))} missing; expected one")
    return state
