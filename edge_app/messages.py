"""Published messages: one JSON object each, described by messages.schema.json (`edge-app schema`).

Not here: which messages are published (publish/), where they are sent (sinks/), undelivered messages (outbox/).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import (
    Classification,
    Crops,
    Detections,
    Embedding,
    Event,
    Frame,
    HeadOutput,
    JsonValue,
    Segmentation,
    Text,
)

SCHEMA_ID = "edge-app/1"
SCHEMA_FILE = Path(__file__).with_name("messages.schema.json")
Kind = Literal["result", "event", "status"]
Labels = Mapping[str, Sequence[str]]
_SCALE = 10_000  # scores and coordinates have four decimals


@dataclass(frozen=True, slots=True)
class Message:
    """One published object. id: the same if it is sent again. payload: UTF-8 JSON without a newline.

    monotonic_ns, utc_ns: time of the frame, event or status. clock_synced: the clock was set at that time.
    """

    id: str
    seq: int
    kind: Kind
    monotonic_ns: int
    utc_ns: int
    clock_synced: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Stamp:
    """The time of a message's content; see `Message`."""

    monotonic_ns: int
    utc_ns: int
    clock_synced: bool


class Encoder:
    """Turns frames, events and states into messages of one device and boot. The caller numbers them."""

    def __init__(self, device: str, boot_id: str, labels: Labels) -> None:
        self._device = device
        self._boot_id = boot_id
        self._labels = labels
        self._second, self._second_text = -1, ""  # cache: many frames share a second
        self._json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False)

    def result(self, seq: int, frame: Frame, *, clock_synced: bool) -> Message:
        """A frame's results."""
        body: dict[str, JsonValue] = {
            "source": frame.source,
            "frame": frame.sequence,
            "resolution": [frame.width, frame.height],
            "heads": self._heads(frame),
        }
        return self._message(seq, "result", Stamp(frame.captured_ns, frame.utc_ns, clock_synced), body)

    def event(self, seq: int, event: Event, stamp: Stamp, source: str) -> Message:
        """An event's begin, update or end. stamp: when that was detected. source: the camera's name."""
        body: dict[str, JsonValue] = {"source": source, **event_fields(event)}
        return self._message(seq, "event", stamp, body)

    def status(self, seq: int, stamp: Stamp, state: Mapping[str, JsonValue], source: str | None = None) -> Message:
        """A heartbeat, a gap record or a written clip. source: the camera's name."""
        body: dict[str, JsonValue] = {"status": state} if source is None else {"source": source, "status": state}
        return self._message(seq, "status", stamp, body)

    def _heads(self, frame: Frame) -> dict[str, JsonValue]:
        """The results of all heads. Those of a second-stage head are put into the detections that they belong to."""
        outputs = frame.outputs
        heads = {
            name: _head(output, self._labels[name], frame.width, frame.height)
            for name, output in outputs.items()
            if not isinstance(output.result, Crops)
        }
        for name, output in outputs.items():
            if isinstance(output.result, Crops) and output.result.of in heads:
                listed: Any = heads[output.result.of]["detections"]
                for row, result in zip(output.result.row, output.result.results):
                    body = _head(HeadOutput(result), self._labels[name], frame.width, frame.height)
                    listed[row].setdefault("heads", {})[name] = body
        return dict(heads)

    def _message(self, seq: int, kind: Kind, stamp: Stamp, body: Mapping[str, JsonValue]) -> Message:
        id_ = f"{self._device}-{seq}"
        envelope: dict[str, JsonValue] = {
            "schema": SCHEMA_ID,
            "kind": kind,
            "id": id_,
            "device": self._device,
            "boot_id": self._boot_id,
            "seq": seq,
            "utc": self._utc(stamp.utc_ns),
            "monotonic_ns": stamp.monotonic_ns,
            "clock_synced": stamp.clock_synced,
            **body,
        }
        payload = self._json.encode(envelope).encode()
        return Message(id_, seq, kind, stamp.monotonic_ns, stamp.utc_ns, stamp.clock_synced, payload)

    def _utc(self, utc_ns: int) -> str:
        """As `rfc3339`; formats each second once."""
        second, rest_ns = divmod(utc_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._second_text = second, rfc3339(utc_ns)[: -len(".000Z")]
        return f"{self._second_text}.{rest_ns // 1_000_000:03d}Z"


def event_fields(event: Event) -> dict[str, JsonValue]:
    """An event's published fields, without the envelope."""
    return {
        "type": event.type,
        "event_id": event.event_id,
        "rule": event.rule,
        "rule_type": event.rule_type,
        "start": rfc3339(event.start_utc_ns),
        "end": None if event.end_utc_ns is None else rfc3339(event.end_utc_ns),
        "value": event.value,
    }


def decode(payload: bytes) -> Message:
    """Parse a payload. utc_ns has a resolution of milliseconds. Raises ValueError if it is not a message."""
    try:
        body = json.loads(payload)
        utc_ns = utc_of(body["utc"])
        message = Message(
            body["id"], body["seq"], body["kind"], body["monotonic_ns"], utc_ns, body["clock_synced"], payload
        )
    except (KeyError, TypeError, RecursionError, OverflowError) as exc:
        raise ValueError(f"not a message of {SCHEMA_ID}: {type(exc).__name__}") from exc
    if not (
        isinstance(message.id, str)
        and type(message.seq) is type(message.monotonic_ns) is int
        and isinstance(message.clock_synced, bool)
        and message.kind in get_args(Kind)
    ):
        raise ValueError(f"not a message of {SCHEMA_ID}: a field has another type")
    return message


def utc_of(text: str) -> int:
    """The inverse of `rfc3339`: UTC nanoseconds since 1970. Raises ValueError if the text is not one."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000) * 1_000_000


def rfc3339(utc_ns: int) -> str:
    """UTC nanoseconds since 1970 as RFC 3339 with milliseconds."""
    seconds, rest_ns = divmod(utc_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


def _head(output: HeadOutput, labels: Sequence[str], width: int, height: int) -> dict[str, JsonValue]:
    result = output.result
    body: dict[str, JsonValue]
    if isinstance(result, Detections):
        body = {"detections": _detections(result, labels, width, height)}
    elif isinstance(result, Classification):
        scores = zip(result.class_id.tolist(), _rounded(result.score))
        body = {"classification": [{"label": label_of(labels, c), "score": s} for c, s in scores]}
    elif isinstance(result, Segmentation):
        body = {"segments": _segments(result, labels, width, height)}
    elif isinstance(result, Text):
        body = {"text": {"text": result.text, "score": round(float(result.score), 4)}}
    else:
        assert isinstance(result, Embedding)
        body = {"embedding": _rounded(result.vector, 6)}
    if output.age_ns:
        body["age_ms"] = round(output.age_ns / 1e6, 3)
    if output.reused:
        body["reused"] = output.reused
    return body


def _detections(found: Detections, labels: Sequence[str], width: int, height: int) -> list[JsonValue]:
    # Plain Python is faster than numpy for a few boxes, and int(x + 0.5) faster than round(). All values are >= 0.
    x, y = _SCALE / width, _SCALE / height
    listed: list[dict[str, JsonValue]] = [
        {
            "label": label_of(labels, c),
            "score": int(s * _SCALE + 0.5) / _SCALE,
            "box": [
                int(x1 * x + 0.5) / _SCALE,
                int(y1 * y + 0.5) / _SCALE,
                int(x2 * x + 0.5) / _SCALE,
                int(y2 * y + 0.5) / _SCALE,
            ],
        }
        for c, s, (x1, y1, x2, y2) in zip(found.class_id.tolist(), found.score.tolist(), found.xyxy.tolist())
    ]
    if found.track_id is not None:
        for entry, track in zip(listed, found.track_id.tolist()):
            if track:  # 0: not tracked (yet)
                entry["track_id"] = track
    if found.keypoints is not None:
        for entry, points in zip(listed, _rounded(found.keypoints / (width, height, 1))):
            entry["keypoints"] = points
    if found.corners is not None:
        for entry, corners in zip(listed, _rounded((found.corners / (width, height)).clip(0, 1))):
            entry["corners"] = corners
    for entry, polygon in zip(listed, found.polygons or ()):
        if len(polygon):
            entry["polygon"] = _rounded(polygon / (width, height))
    for entry, text in zip(listed, found.texts or ()):
        entry["text"] = text
    if found.poses is not None:
        _add_poses(listed, found.poses)
    return list(listed)


def _add_poses(listed: list[dict[str, JsonValue]], poses: NDArray[np.float32]) -> None:
    for entry, pose in zip(listed, poses):
        if np.isfinite(pose).all():
            entry["pose"] = {"position": _rounded(pose[:3]), "rotation": _rounded(pose[3:])}


def _segments(found: Segmentation, labels: Sequence[str], width: int, height: int) -> list[JsonValue]:
    return [
        {"label": label_of(labels, c), "score": s, "polygon": _rounded(polygon / (width, height))}
        for c, s, polygon in zip(found.class_id.tolist(), _rounded(found.score), found.polygons)
    ]


def label_of(labels: Sequence[str], class_id: int) -> str:
    """The label of a class, or its number as text if the manifest has no label for it."""
    return labels[class_id] if 0 <= class_id < len(labels) else str(class_id)


def _rounded(values: NDArray[np.floating[Any]], digits: int = 4) -> Any:
    """Nested lists. Rounds as float64, because float32 0.4 would print as 0.4000000059604645."""
    return values.astype(float).round(digits).tolist()
