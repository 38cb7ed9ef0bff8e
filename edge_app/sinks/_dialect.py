"""The dialect of a sink, from its option and context."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from edge_app import dialects
from edge_app.messages import Message
from edge_app.options.files import MIB, read_regular
from edge_app.sinks import SinkContext

_EVENT_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")  # as of the names of the files


def dialect_of(name: str, context: SinkContext) -> dialects.Dialect:
    """Each of several cameras has a dialect of its own: it keeps counts. Raises OptionError if there is none."""
    found = {each.source: _dialect(name, each) for each in context.each}
    if len(found) == 1:
        return found[context.source]
    return OfCameras(found)  # type: ignore[return-value]  # its prefix is not a class variable


class OfCameras:
    """The dialects of several cameras; a Dialect. A message is converted by that of its camera."""

    def __init__(self, by_camera: Mapping[str, dialects.Dialect]) -> None:
        self.by_camera = by_camera
        self._first = next(iter(by_camera.values()))
        self.prefix, self.per_device = self._first.prefix, self._first.per_device
        self.commands = [topic for each in by_camera.values() for topic in each.commands]

    def convert(self, message: Message) -> Sequence[dialects.Publication]:
        """As of a Dialect."""
        camera = json.loads(message.payload).get("source")
        return self.by_camera.get(camera, self._first).convert(message)

    def command(self, topic: str, payload: bytes) -> tuple[str, bytes] | None:
        """As of a Dialect, without the camera: `by_camera` has it."""
        found = (each.command(topic, payload) for each in self.by_camera.values())
        return next((command for command in found if command is not None), None)

    def state(self) -> Sequence[dialects.Publication]:
        """As of a Dialect."""
        return [publication for each in self.by_camera.values() for publication in each.state()]


def _dialect(name: str, context: SinkContext) -> dialects.Dialect:
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
