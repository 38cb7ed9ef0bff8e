"""The data that the page shows, as functions of the daemon. Not here: the daemon's side (daemon/views.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_app.frame import Event, JsonValue
from edge_app.messages import Labels
from edge_app.web.commands import PageCommands

Hours = Sequence[tuple[str, str, int, int]]


def _no_hours() -> Hours:
    return ()


def _no_clip(_name: str) -> Path | None:
    return None


@dataclass(frozen=True, slots=True)
class PageData:
    """The data that the page shows. The server's thread calls these functions.

    labels: of each head. snapshot_ids: ids of the events that have a snapshot. snapshot: the JPEG of an event, by its
    id, or None. snapshot_what: `frame` or `crop`, as configured. hours: (rule, count, start of the hour as seconds
    since 1970, number) of the finished hours; raises OSError if they cannot be read. clip_names: by event id, of the
    events that have a clip. counts: what metrics show beyond the status (pipeline/health.py). clip: the file of a clip,
    by its name, or None. commands: what the page may change. camera: its name.
    """

    labels: Labels
    status: Callable[[], Mapping[str, JsonValue]]
    events: Callable[[], Sequence[Event]]
    snapshot_ids: Callable[[], Collection[str]]
    snapshot: Callable[[str], bytes | None]
    snapshot_what: str = "frame"
    hours: Callable[[], Hours] = _no_hours
    clip_names: Callable[[], Mapping[str, str]] = dict
    counts: Callable[[], Mapping[str, JsonValue]] = dict
    clip: Callable[[str], Path | None] = _no_clip
    commands: PageCommands | None = None
    camera: str = "camera"
