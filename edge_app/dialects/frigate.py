"""frigate: topics and payloads of the video recorder Frigate, for consumers of its MQTT messages.

`events`, `<camera>/<label>`, `<zone>/<label>`, `<camera>/<label>/snapshot`, `<camera>/detect/state`. Fields as in
Frigate 0.16 (docs.frigate.video/integrations/mqtt). Not here: Frigate's HTTP API, its recordings and reviews.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edge_app.dialects import DialectContext, Publication, as_level
from edge_app.dialects._fields import encoded, unix_s
from edge_app.frame import JsonValue
from edge_app.messages import Message

_CAMERA = re.compile(r"[^A-Za-z0-9_-]")  # Frigate allows no other characters in names of cameras and zones
_MAX_OBJECTS = 300  # at the same time
_MAX_LABELS = 200  # of a camera or a zone
_UNKNOWN_SIZE = (1000, 1000)  # until a result has been published
_ALL = "all"


@dataclass(slots=True)
class _Object:
    """One tracked object. rules: the open events about it, by event id: the zone, or None for other rules."""

    id: str
    label: str
    start_s: float
    top_score: float = 0.0
    rules: dict[str, str | None] = field(default_factory=dict)
    entered: list[str] = field(default_factory=list)
    stationary: bool = False
    last: dict[str, JsonValue] | None = None  # as published
    has_image: bool = False


class Dialect:
    prefix: ClassVar[str] = "frigate"
    per_device: ClassVar[bool] = False

    def __init__(self, context: DialectContext) -> None:
        self._context = context
        self._size = _UNKNOWN_SIZE
        self._objects: OrderedDict[str, _Object] = OrderedDict()
        self._counts = _Counts(_name(context.source))
        self._zones: dict[str, _Counts] = {}
        self._inside: OrderedDict[str, tuple[str, str]] = OrderedDict()  # event id -> zone, label
        self._detects = True  # until a command says otherwise
        self._tracked: set[str] = set()  # heads whose detections have had track ids
        self.commands = (f"{_name(context.source)}/+/set",)

    def convert(self, message: Message) -> list[Publication]:
        body = json.loads(message.payload)
        if message.kind == "result":
            return list(self._result(body))
        if message.kind == "event" and body["value"].get("command") == "detect":
            self._detects = body["value"].get("value") == "ON"
            state = b"ON" if self._detects else b"OFF"
            return [Publication(f"{_name(self._context.source)}/detect/state", state, retain=True)]
        if message.kind == "event" and {"label", "box", "score"} <= body["value"].keys():
            return list(self._event(body))
        return []

    def command(self, topic: str, payload: bytes) -> tuple[str, bytes] | None:
        """`<camera>/detect/set`. What else Frigate can switch does not exist here."""
        return ("detect", payload) if topic == f"{_name(self._context.source)}/detect/set" else None

    def state(self) -> list[Publication]:
        """The switches of the camera, and the present counts. Recordings and snapshots of Frigate do not exist here."""
        camera = _name(self._context.source)
        switches = {
            "detect": b"ON" if self._detects else b"OFF",
            "motion": b"ON",
            "recordings": b"OFF",
            "snapshots": b"OFF",
            "audio": b"OFF",
        }
        published = [Publication(f"{camera}/{name}/state", value, retain=True) for name, value in switches.items()]
        for counts in (self._counts, *self._zones.values()):
            published += counts.all()
        return published

    def _result(self, body: Mapping[str, Any]) -> Iterator[Publication]:
        """The number of objects for each label, if it has changed. In a tracked head, only those with a track."""
        self._size = (body["resolution"][0], body["resolution"][1])
        found: Counter[str] = Counter()
        for name, head in body["heads"].items():
            detections = head.get("detections", [])
            if any("track_id" in each for each in detections):
                self._tracked.add(name)
            found.update(each["label"] for each in detections if name not in self._tracked or "track_id" in each)
        yield from self._counts.update(found)

    def _event(self, body: Mapping[str, Any]) -> Iterator[Publication]:
        """An event of a rule about an object: `new` for the first one about it, `end` when all have ended.

        One that began before this process has the id that its `new` had.
        """
        zone = _name(body["rule"]) if body["rule_type"] in ("zone", "line") else None
        ended = body["type"] == "end"
        if body["rule_type"] == "zone":
            yield from self._count_zone(str(zone), body, ended=ended)
        key = self._key(body)
        tracked = self._objects.get(key) or self._begin(key, body)
        self._follow(tracked, body, zone, ended=ended)
        after = self._fields(tracked, body)
        over = ended and not tracked.rules
        if over:
            after["end_time"] = unix_s(body["end"])
            self._objects.pop(key, None)
        is_new = tracked.last is None and body["type"] == "new"
        before = tracked.last or {**after, "end_time": None}
        yield _published("end" if over else "new" if is_new else "update", before, after)
        tracked.last = after
        yield from self._snapshot(tracked, body["event_id"])

    def _begin(self, key: str, body: Mapping[str, Any]) -> _Object:
        start_s = unix_s(body["start"])
        # Frigate's form: the start, and six characters. The same after a restart.
        suffix = hashlib.sha256(f"{body['device']} {body['event_id']}".encode()).hexdigest()[:6]
        self._objects[key] = made = _Object(f"{start_s:.6f}-{suffix}", body["value"]["label"], start_s)
        if len(self._objects) > _MAX_OBJECTS:
            self._objects.popitem(last=False)
        return made

    def _follow(self, tracked: _Object, body: Mapping[str, Any], zone: str | None, *, ended: bool) -> None:
        if ended:
            tracked.rules.pop(body["event_id"], None)
        else:
            tracked.rules[body["event_id"]] = zone if body["rule_type"] == "zone" else None
        if zone is not None and zone not in tracked.entered:
            tracked.entered.append(zone)
        if body["rule_type"] == "stationary":
            tracked.stationary = not ended
        tracked.top_score = max(tracked.top_score, body["value"]["score"])

    def _fields(self, tracked: _Object, body: Mapping[str, Any]) -> dict[str, JsonValue]:
        width, height = self._size
        x1, y1, x2, y2 = body["value"]["box"]
        box = [round(x1 * width), round(y1 * height), round(x2 * width), round(y2 * height)]
        across, down = box[2] - box[0], box[3] - box[1]
        zones = list(dict.fromkeys(zone for zone in tracked.rules.values() if zone is not None))
        return {
            "id": tracked.id,
            "camera": _name(body["source"]),
            "frame_time": unix_s(body["utc"]),
            "snapshot": None,
            "label": tracked.label,
            "sub_label": None,
            "top_score": tracked.top_score,
            "false_positive": False,
            "start_time": tracked.start_s,
            "end_time": None,
            "score": body["value"]["score"],
            "box": [*box],
            "area": across * down,
            "ratio": round(across / down, 2) if down else 0.0,
            "region": [0, 0, width, height],
            "active": not tracked.stationary,
            "stationary": tracked.stationary,
            "motionless_count": int(tracked.stationary),
            "position_changes": 0,
            "current_zones": [*zones],
            "entered_zones": [*tracked.entered],
            "has_clip": False,
            "has_snapshot": False,
            "attributes": {},
            "current_attributes": [],
            "pending_loitering": False,
            "max_severity": None,
            "current_estimated_speed": 0,
            "average_estimated_speed": 0,
            "velocity_angle": 0,
            "path_data": [],
            "recognized_license_plate": None,
        }

    def _count_zone(self, zone: str, body: Mapping[str, Any], *, ended: bool) -> Iterator[Publication]:
        """The number of objects in a zone for each label, if it has changed."""
        key = f"{body['boot_id']} {body['event_id']}"
        if ended:
            self._inside.pop(key, None)
        else:
            self._inside[key] = (zone, body["value"]["label"])
            if len(self._inside) > _MAX_OBJECTS:
                self._inside.popitem(last=False)
        counts = self._zones.setdefault(zone, _Counts(zone))
        found = Counter(label for at, label in self._inside.values() if at == zone)
        found.setdefault(body["value"]["label"], 0)
        yield from counts.update(found)

    def _snapshot(self, tracked: _Object, event_id: str) -> Iterator[Publication]:
        """The image of an event, once for each object. It is written after the event: `update` and `end` look again."""
        image = None if tracked.has_image else self._context.image(event_id)
        if image:
            tracked.has_image = True
            camera = _name(self._context.source)
            yield Publication(f"{camera}/{as_level(tracked.label)}/snapshot", image, retain=True)

    def _key(self, body: Mapping[str, Any]) -> str:
        track = body["value"].get("track_id")
        own = f"track {track}" if track else f"event {body['event_id']}"
        return f"{body['boot_id']} {own}"


class _Counts:
    """The counts of a camera or a zone, as last published. `all` is the sum."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._published: dict[str, int] = {}

    def update(self, found: Mapping[str, int]) -> Iterator[Publication]:
        """The counts that have changed. A label that is not found is counted 0."""
        counts = {**dict.fromkeys(self._published, 0), **found, _ALL: sum(found.values())}
        for label, count in counts.items():
            if self._published.get(label) != count and (label in self._published or len(self._published) < _MAX_LABELS):
                self._published[label] = count
                yield self._publication(label, count)

    def all(self) -> list[Publication]:
        return [self._publication(label, count) for label, count in self._published.items()]

    def _publication(self, label: str, count: int) -> Publication:
        return Publication(f"{self._name}/{as_level(label)}", str(count).encode())


def _name(text: str) -> str:
    """A name of a camera or a zone as Frigate allows it."""
    return _CAMERA.sub("_", text[:64]) or "_"


def _published(type_: str, before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> Publication:
    return Publication("events", encoded({"type": type_, "before": dict(before), "after": dict(after)}))
