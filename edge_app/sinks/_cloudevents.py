"""CloudEvents 1.0 over HTTP: one event in binary mode, several in batched mode.

Format: github.com/cloudevents/spec, HTTP protocol binding and JSON event format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from edge_app.messages import Message, rfc3339

_HEADER_SAFE = "!#$&'()*+,/:;<=>?@[\\]^`{|}"  # and what `quote` never changes: all printable ASCII but space, " and %


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """attributes: by name, without `specversion`. data: JSON."""

    attributes: dict[str, str]
    data: bytes


def event_of(message: Message, source: str, data: bytes, number: int = 0, subject: str | None = None) -> CloudEvent:
    """The event of a message, or of its publication with a number. time: only if the device's clock was set."""
    attributes = {
        "id": f"{message.id}.{number}" if number else message.id,
        "source": source,
        "type": f"edge-app.{message.kind}",
    }
    if subject is not None:
        attributes["subject"] = subject
    if message.clock_synced:
        attributes["time"] = rfc3339(message.utc_ns)
    return CloudEvent(attributes, data)


def source_of(device_id: str, camera: str) -> str:
    """The URI reference of a camera."""
    return f"/edge-app/{quote(device_id, safe='')}/{quote(camera, safe='')}"


def request(events: Sequence[CloudEvent]) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a request with one or more events."""
    if len(events) == 1:
        (event,) = events
        headers = {f"ce-{name}": quote(value, safe=_HEADER_SAFE) for name, value in event.attributes.items()}
        return {"Content-Type": "application/json", "ce-specversion": "1.0", **headers}, event.data
    body = b"[" + b",".join([_structured(event) for event in events]) + b"]"
    return {"Content-Type": "application/cloudevents-batch+json"}, body


def _structured(event: CloudEvent) -> bytes:
    attributes = {"specversion": "1.0", **event.attributes, "datacontenttype": "application/json"}
    text = json.dumps(attributes, separators=(",", ":"), ensure_ascii=False)
    return text[:-1].encode() + b',"data":' + event.data + b"}"
