"""Whether a schedule is on now. A step of the clock runs nothing twice, and leaves nothing out.

The clock may step when it is synchronized or set by hand. Of a step of up to three hours backwards, the repeated time
is not evaluated again: the schedule keeps its state until the clock has caught up. A step of up to three hours forwards
over a whole run makes the run start late. After a larger step the time before it was wrong, and only the new time
counts. Not here: the windows (weekly.py).
"""

from __future__ import annotations

from datetime import tzinfo

from edge_app.schedule.weekly import Weekly

_S = 1_000_000_000
_LARGEST_STEP_S = 3 * 3600
_STEP_S = 2


class Switch:
    """The state of one schedule. While the clock is not set, it is on."""

    def __init__(self, weekly: Weekly) -> None:
        self._weekly = weekly
        self._at: tuple[int, int] | None = None  # monotonic and UTC time of the last update, seconds
        self._late_until_s = 0  # monotonic: end of a run that starts late
        self.on = True

    def update(self, monotonic_ns: int, utc_ns: int | None, zone: tzinfo) -> bool:
        """Whether the schedule is on now. utc_ns: None while the clock is not set."""
        if utc_ns is None:
            self._at, self.on = None, True
            return True
        now_s, utc_s = monotonic_ns // _S, utc_ns // _S
        if self._at is not None:
            utc_s = self._after_step(now_s, utc_s, zone, *self._at)
        self._at = now_s, utc_s
        self.on = self._weekly.contains(utc_s, zone) or now_s < self._late_until_s
        return self.on

    def next_change_s(self, zone: tzinfo) -> int | None:
        """When it will next be turned on or off, in seconds since 1970; None: never, or the clock is not set."""
        return None if self._at is None else self._weekly.next_change(self._at[1], zone)

    def _after_step(self, now_s: int, utc_s: int, zone: tzinfo, last_s: int, last_utc_s: int) -> int:
        """The time to evaluate, after the clock may have stepped since the last update."""
        if last_utc_s - _LARGEST_STEP_S <= utc_s < last_utc_s:
            return last_utc_s
        step_s = (utc_s - last_utc_s) - (now_s - last_s)
        if _STEP_S < step_s <= _LARGEST_STEP_S:
            skipped = [
                end - start
                for start, end in self._weekly.runs(last_utc_s, utc_s, zone)
                if last_utc_s < start and end <= utc_s
            ]
            self._late_until_s = max(self._late_until_s, now_s + max(skipped, default=0))
        return utc_s
