"""The windows of a schedule: days of the week, and a time from which to which it is on, in local time.

A window has exactly one run for each of its days, also when the clocks change: a time that the change repeats belongs
to the run from its first to its last occurrence; a run whose times the change skips starts right after it. Every moment
at which the local clock shows a time of the window is in its run.
Not here: steps of the device's clock (switch.py), the device's time zone (zone.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_DAY_MINUTES = 24 * 60
_SECOND = timedelta(seconds=1)
_WEEK = 7

Run = tuple[int, int]  # seconds since 1970: start, end


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a schedule. days: `mon-fri`, `sat, sun`, or a list. from, to: local time, HH:MM, up to 24:00.

    If `to` is earlier than `from`, the window ends on the next day. The constructor raises ValueError.
    """

    days: str | tuple[str, ...] = "mon-sun"
    from_: str = "00:00"
    to: str = "24:00"

    def __post_init__(self) -> None:
        self.weekdays()
        start, end = self.minutes()
        if start in (end, _DAY_MINUTES):
            raise ValueError(f"found from {self.from_} to {self.to}; expected different times, such as 07:00 to 19:00")

    def weekdays(self) -> frozenset[int]:
        """The days on which it starts: 0 is Monday."""
        parts = self.days.split(",") if isinstance(self.days, str) else self.days
        return frozenset(day for part in parts for day in _day_range(part.strip().lower()))

    def minutes(self) -> tuple[int, int]:
        """Start and end, minutes after midnight. The end is above 24 hours if it is on the next day."""
        start, end = _minutes("from", self.from_), _minutes("to", self.to)
        return start, end if end >= start else end + _DAY_MINUTES


class Weekly:
    """Windows, ready to be evaluated. It is on while at least one of them is; without windows it is always on."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self._windows = [(window.weekdays(), *window.minutes()) for window in windows]

    def contains(self, utc_s: int, zone: tzinfo) -> bool:
        """Whether it is on at a moment: seconds since 1970."""
        return not self._windows or any(start <= utc_s < end for start, end in self.runs(utc_s, utc_s, zone))

    def runs(self, from_s: int, to_s: int, zone: tzinfo) -> Iterator[Run]:
        """The runs that may overlap a period, in no order; more around it. Seconds since 1970."""
        first = datetime.fromtimestamp(from_s, timezone.utc).astimezone(zone).date() - timedelta(days=1)
        last = datetime.fromtimestamp(to_s, timezone.utc).astimezone(zone).date()
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            for weekdays, start, end in self._windows:
                if day.weekday() in weekdays:
                    yield _run(day, start, end, zone)

    def next_change(self, utc_s: int, zone: tzinfo) -> int | None:
        """When it is next turned on or off, seconds since 1970; None if never."""
        runs = sorted(self.runs(utc_s, utc_s + (_WEEK + 1) * 86_400, zone))
        if not self.contains(utc_s, zone):
            return min((start for start, _ in runs if start > utc_s), default=None)
        end_s = utc_s
        for start, end in runs:
            if start <= end_s < end:
                end_s = end
        return end_s if utc_s < end_s < utc_s + (_WEEK + 1) * 86_400 else None


def _run(day: date, start: int, end: int, zone: tzinfo) -> Run:
    """The run of a window that starts on a day. start, end: minutes after its midnight."""
    midnight = datetime(day.year, day.month, day.day)
    from_s = _first(midnight + timedelta(minutes=start), zone)
    to_s = _last(midnight + timedelta(minutes=end) - _SECOND, zone) + 1
    return from_s, to_s if to_s > from_s else from_s + (end - start) * 60


def _first(local: datetime, zone: tzinfo) -> int:
    """The first moment at which the local clock shows this time, or a later one if the time is skipped."""
    before, after = _offset_s(local, zone, 0), _offset_s(local, zone, 1)
    shown_s = _seconds(local)
    return shown_s - before if before >= after else _change_s(shown_s - after, shown_s - before, zone)


def _last(local: datetime, zone: tzinfo) -> int:
    """The last moment at which the local clock shows this time; if the time is skipped, the last one before that."""
    before, after = _offset_s(local, zone, 0), _offset_s(local, zone, 1)
    shown_s = _seconds(local)
    return shown_s - after if before >= after else _change_s(shown_s - after, shown_s - before, zone) - 1


def _change_s(low_s: int, high_s: int, zone: tzinfo) -> int:
    """The moment in (low_s, high_s] from which the zone has another offset."""
    old = _offset_at(low_s, zone)
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if _offset_at(middle_s, zone) == old:
            low_s = middle_s
        else:
            high_s = middle_s
    return high_s


def _offset_at(utc_s: int, zone: tzinfo) -> timedelta | None:
    return datetime.fromtimestamp(utc_s, timezone.utc).astimezone(zone).utcoffset()


def _offset_s(local: datetime, zone: tzinfo, fold: int) -> int:
    """The offset from UTC before (0) and after (1) a change at this time; the same without a change."""
    offset = local.replace(tzinfo=zone, fold=fold).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def _seconds(local: datetime) -> int:
    return round(local.replace(tzinfo=timezone.utc).timestamp())


def _day_range(text: str) -> list[int]:
    first, _, last = text.partition("-")
    try:
        start, end = _DAYS.index(first.strip()), _DAYS.index((last or first).strip())
    except ValueError:
        raise ValueError(f"found days '{text}'; expected {', '.join(_DAYS)}, or a range such as mon-fri") from None
    return [number % _WEEK for number in range(start, (end if end >= start else end + _WEEK) + 1)]


def _minutes(name: str, text: str) -> int:
    match = _TIME.fullmatch(text)
    minutes = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else _DAY_MINUTES + 1
    if minutes > _DAY_MINUTES:
        raise ValueError(f"found {name} '{text}'; expected a time HH:MM, 00:00 to 24:00")
    return minutes
