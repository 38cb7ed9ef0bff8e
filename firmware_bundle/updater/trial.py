"""The trial of a new release: follow what it reports of itself, then keep it or take it back.

Not here: whether a camera is healthy; the release says that in its health file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slots import Slots

TRIAL_S = 30.0
_MAX_BYTES = 1 << 16


def follow(
    slots: Slots, health: Path, timeout_s: float, clock: Callable[[], float], wait: Callable[[float], None]
) -> tuple[bool, str]:
    """Follow the health file of the release on trial: keep the release, or take it back.

    Returns whether the running release may go on, and a line for the log. The file is JSON: `verdict` is `healthy`,
    `failed` or `waiting`, and `reason` says for what.
    """
    state = slots.state()
    if state.trial is None:
        return True, ""
    release, end = state.trial.release, clock() + timeout_s
    verdict, reason = "waiting", "it reported nothing"
    while clock() < end and verdict == "waiting":
        wait(0.25)
        verdict, reason = read_health(health) or (verdict, reason)
    if verdict == "healthy":
        slots.mark_good()
        return True, f"{release}: healthy; kept"
    if verdict == "waiting":
        reason = f"not healthy within {timeout_s:.0f} s: {reason}"
    back = slots.rollback(reason)
    if back is None:
        return True, f"{release}: {reason}; there is none to go back to"
    return False, f"{release}: {reason}; going back to {back}"


def read_health(path: Path) -> tuple[str, str] | None:
    """Verdict and reason; None where there is no whole report. The file is the release's: nothing in it is trusted."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
        verdict, reason = fields["verdict"], fields["reason"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if verdict not in ("healthy", "failed", "waiting") or not isinstance(reason, str):
        return None
    return verdict, "".join(c if c.isprintable() else " " for c in reason[:300])
