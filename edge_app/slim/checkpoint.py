"""Save and load the state of a run, so that a kill at any moment loses no more than the steps since the last save.

A checkpoint is written to a temporary file and renamed when it is on the disk. Needs torch.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

import torch

from edge_app.errors import ConfigError

FILE = "checkpoint.pt"
KEYS = frozenset(("fingerprint", "step", "widths", "network", "average", "optimizer"))


class Resumable(Protocol):
    """A training run. step: how many steps it has taken. save: writes its checkpoint, raises ConfigError."""

    step: int

    def save(self) -> None: ...

    def take_step(self) -> float:
        """Take one step. Returns the loss. Raises ConfigError if it is not finite."""
        ...


def take_steps(run: Resumable, steps: int, every: int, report: Callable[[int, float], None]) -> None:
    """Take the steps that are left of `steps`. report: called with the number of steps taken and the loss.

    Saves a checkpoint every `every` steps, at the end, and when it is interrupted. Raises ConfigError.
    """
    try:
        while run.step < steps:
            loss = run.take_step()
            if run.step % every == 0 or run.step == steps:
                run.save()
            report(run.step, loss)
    except KeyboardInterrupt:
        run.save()
        raise


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
