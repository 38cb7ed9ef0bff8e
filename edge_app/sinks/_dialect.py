"""The dialect of a sink, from its option and context."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from edge_app import dialects
from edge_app.options.files import MIB, read_regular
from edge_app.sinks import SinkContext

_EVENT_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")  # as of the names of the files


def dialect_of(name: str, context: SinkContext) -> dialects.Dialect:
    """Raises OptionError if there is no such dialect."""
    image = partial(_image, context.snapshots)
    return dialects.build(name, dialects.DialectContext(context.device_id, context.source, image))


def _image(folder: Path | None, event_id: str) -> bytes | None:
    """The snapshot of an event. None if there are no snapshots, if it is not written yet, or deleted."""
    if folder is None or not _EVENT_ID.fullmatch(event_id):
        return None
    try:
        return read_regular(folder / f"{event_id}.jpg", MIB, inside=folder)
    except OSError:
        return None
