"""The trial of a new release: follow its health file, then keep it or roll it back.

Not here: what healthy means; the release decides that and writes its health file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import durable
from text import one_line

if TYPE_CHECKING:
    from releases import Slots

TRIAL_S = 30.0
_MAX_BYTES = 1 << 16


def follow(
    slots: Slots,
    health: Path,
    timeout_s: float,
    clock: Callable[[], float],
    wait: Callable[[float], None],
    *,
    pid: int | None = None,
) -> tuple[bool, str]:
    """Follow the health file of the release on trial: keep the release or roll it back.

    Returns whether the running release may continue, and a line for the log. The file is JSON: `verdict` is `healthy`,
    `failed` or `waiting`; `reason` is text. pid: the process of the release; if it exits, there is no verdict,
    and the next start counts as another try.
    """
    state = slots.state()
    if state.trial is None:
        return True, ""
    release, end = state.trial.release, clock() + timeout_s
    found, reason = "waiting", "it reported nothing"
    while clock() < end and found == "waiting":
        wait(0.25)
        found, reason = read_health(health) or (found, reason)
        if found == "waiting" and pid is not None and not alive(pid):
            return False, f"{release}: ended: {reason}"
    if found == "healthy":
        slots.mark_good()
        return True, f"{release}: healthy; kept"
    if found == "waiting":
        reason = f"not healthy within {timeout_s:.0f} s: {reason}"
    back = slots.rollback(reason)
    if back is None:
        return True, f"{release}: {reason}; there is no previous release"
    return False, f"{release}: {reason}; rolling back to {back}"


def verdict(
    slots: Slots, release: str, timeout_s: float, clock: Callable[[], float], wait: Callable[[float], None]
) -> tuple[bool, str]:
    """Wait until a release is kept or rolled back. Returns whether it is kept, and a line to print."""
    end = clock() + timeout_s
    while clock() < end:
        state = slots.state()
        if state.failed and state.failed.release == release:
            if state.trial:
                return False, f"{release}: {state.failed.reason}; it keeps running: there is no previous release"
            return False, f"{release}: rolled back: {state.failed.reason}; {state.chosen} runs"
        if state.good == release and state.trial is None:
            return True, f"{release}: healthy; kept"
        wait(0.5)
    return False, f"{release}: no verdict within {timeout_s:.0f} s"


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def read_health(path: Path) -> tuple[str, str] | None:
    """Verdict and reason, or None without a complete report. The content is not trusted: the release writes it."""
    try:
        fields = json.loads(durable.read_file(path, _MAX_BYTES))
        found, reason = fields["verdict"], fields["reason"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if found not in ("healthy", "failed", "waiting") or not isinstance(reason, str):
        return None
    return found, one_line(reason)
