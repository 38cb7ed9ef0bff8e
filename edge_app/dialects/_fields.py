"""Fields of published messages that several dialects need."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from edge_app.frame import JsonValue


def encoded(body: JsonValue) -> bytes:
    """JSON as in the published messages: compact, UTF-8."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def unix_s(utc: str) -> float:
    """Seconds since 1970 of a published time."""
    return datetime.strptime(utc, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
